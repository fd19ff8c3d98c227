// `npm run bench [part …]`: runs the parts one after another on a quiet machine and prints one table.
import { table, write, writeJson, note, paint } from '../show.ts';
import type { Row } from './measure.ts';

const PARTS: Readonly<Record<string, () => Promise<{ readonly run: () => Promise<readonly Row[]> }>>> = {
  proxy: () => import('./proxy.ts'),
  keys: () => import('./keys.ts'),
  reconcile: () => import('./reconcile.ts'),
  engine: () => import('./engine.ts'),
  downloads: () => import('./downloads.ts'),
};

/** Small numbers keep their digits, large ones do without. */
const numeral = (value: number): string => (Math.abs(value) >= 100 ? Math.round(value).toLocaleString('en') : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2));

async function main(argv: readonly string[]): Promise<number> {
  const json = argv.includes('--json');
  const wanted = argv.filter((word) => word !== '--json');
  const unknown = wanted.filter((name) => !(name in PARTS));
  if (unknown.length > 0) {
    note(`bench: there is no part ${unknown.join(', ')}. Parts: ${Object.keys(PARTS).join(', ')}.\n`);
    return 1;
  }
  const rows: (Row & { readonly part: string })[] = [];
  for (const [part, load] of Object.entries(PARTS)) {
    if (wanted.length > 0 && !wanted.includes(part)) continue;
    note(`bench: ${part} …\n`);
    rows.push(...(await (await load()).run()).map((row) => ({ part, ...row })));
  }
  if (json) writeJson({ rows });
  else {
    const verdict = (row: Row): string => (row.ok === undefined ? '' : row.ok ? paint('green', 'met') : paint('red', 'missed'));
    write(table(['part', 'what', 'value', 'unit', 'target', ''], rows.map((row) => [row.part, row.name, numeral(row.value), row.unit, row.target ?? '', verdict(row)])));
  }
  return rows.some((row) => row.ok === false) ? 1 : 0;
}

process.exitCode = await main(process.argv.slice(2));
