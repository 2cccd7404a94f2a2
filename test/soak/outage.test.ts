import { outages } from '../support/outages';

outages(['stands still for a minute, and answers nobody', 'STOP', 60]);
