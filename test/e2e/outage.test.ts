import { outages } from '../support/outages';

outages(['is gone for two minutes', 'TERM', 120]);
