/** generate.ts - writes src/forgejo/routes/table.json from the forge's API description and the rules beside this file. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildTable, tableText } from './build';
import { describedRoutes, moduleFolder } from './description';

const table = buildTable(describedRoutes(moduleFolder()));
writeFileSync(join(__dirname, '..', '..', 'src', 'forgejo', 'routes', 'table.json'), tableText(table));
const count = (name: string): number => table.filter((route) => route.class === name).length;
process.stdout.write(
  `${table.length} routes: ${count('read')} read, ${count('write')} write, ${count('never')} never\n`,
);
