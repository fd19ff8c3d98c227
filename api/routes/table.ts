// The whole table of the control plane: every group of routes, the older names, the document about them, the figures.
import type { Meter } from '../meter.ts';
import { openapi } from '../openapi.ts';
import { type House, type Route, TEXT, json, plain, route } from '../route.ts';
import { authRoutes } from './auth.ts';
import { configRoutes } from './config.ts';
import { controlRoutes } from './control.ts';
import { historyRoutes } from './history.ts';
import { modelRoutes } from './models.ts';
import { pluginRoutes } from './plugins.ts';
import { peopleRoutes } from './people.ts';
import { recordRoutes } from './records.ts';
import { setupPage, setupRoutes } from './setup.ts';
import { statusRoutes } from './status.ts';

const PLUGINS = '/api/plugins';
const OLDER_PLUGINS = '/api/core/plugins';

/** Every row, in the order the router tries them. `page` also answers `/` with a page for people. */
export function tableOf(house: House, o: { readonly meter: Meter; readonly page: boolean }): readonly Route[] {
  const own = [...statusRoutes, ...configRoutes, ...historyRoutes, ...pluginRoutes, ...controlRoutes, ...modelRoutes, ...authRoutes, ...setupRoutes, ...peopleRoutes, ...recordRoutes];
  const older = own.filter((row) => row.path.startsWith(PLUGINS)).map((row): Route => ({ ...row, path: OLDER_PLUGINS + row.path.slice(PLUGINS.length), deprecated: true }));
  const metrics = route({
    method: 'GET', path: '/metrics', scope: 'analytics.read', summary: 'Figures for Prometheus.', output: TEXT,
    run: async () => plain(await o.meter.text(), { type: o.meter.contentType }),
  });
  let document: unknown = null;
  const about: Route = route({ method: 'GET', path: '/openapi.json', scope: 'config.read', summary: 'This document.', output: { type: 'object' }, run: () => json((document ??= openapi(table, house.version))) });
  const table: readonly Route[] = [...own, ...older, metrics, about, ...(o.page ? [frontPage, setupPage] : [])];
  return table;
}

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>bkg</title>
<h1>bkg is running</h1>
<p>This port serves its API: the OpenAI-compatible one under <code>/v1</code>, its own under <code>/api</code>.
<p><code>GET /openapi.json</code> lists every route, <code>GET /health</code> says how it is doing.
<p>Nearly everything needs <code>Authorization: Bearer &lt;token&gt;</code>: an API key, the access token of <code>POST /auth/login</code>, or on the machine itself the token in <code>$BKG_HOME/admin.token</code>.
</html>
`;

const frontPage = route({
  method: 'GET', path: '/', scope: 'public', summary: 'A page for people.', output: TEXT,
  run: () => plain(PAGE, { type: 'text/html; charset=utf-8', headers: { 'content-security-policy': "default-src 'none'; frame-ancestors 'none'" } }),
});
