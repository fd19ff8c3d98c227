// /v1/models, and what is said of a model that nobody has: each caller is told of what they may ask for.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { may, reaches, type Somebody } from '../auth/somebody.ts';
import { SECURITY_HEADERS } from '../security.ts';
import { writeError, type ApiError } from './errors.ts';
import type { ModelEntry, Table } from './table.ts';

/** Null for a broken escape. */
function unescaped(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** With the capabilities that are theirs; without those of which none is. */
const ofTheirs = (table: Table, who: Somebody): readonly ModelEntry[] =>
  table.modelsFor((plugin) => reaches(who, plugin)).map((model) => ({ ...model, capabilities: model.capabilities.filter((capability) => may(who, capability)) })).filter((model) => model.capabilities.length > 0);

export function listModels(request: IncomingMessage, response: ServerResponse, o: { readonly path: string; readonly table: Table; readonly who: Somebody }): void {
  if (request.method !== 'GET') return writeError(response, { status: 405, code: 'method_not_allowed', message: `${o.path} takes GET.`, headers: [['allow', 'GET']] });
  request.resume();
  const data = ofTheirs(o.table, o.who).map((model) => ({ id: model.id, object: 'model', created: 0, owned_by: model.plugin, bkg: { plugin: model.plugin, state: model.state, capabilities: model.capabilities } }));
  const asked = o.path.slice('/v1/models/'.length);
  const id = unescaped(asked) ?? asked;
  const one = id === '' ? undefined : data.find((model) => model.id === id);
  if (id !== '' && one === undefined) return writeError(response, { status: 404, code: 'model_not_found', param: 'model', message: `There is no model "${id}".` });
  const body = JSON.stringify(one ?? { object: 'list', data });
  response.writeHead(200, ['content-type', 'application/json; charset=utf-8', 'content-length', String(Buffer.byteLength(body)), ...SECURITY_HEADERS]);
  response.end(body);
}

export function unknownModel(table: Table, o: { readonly model: string | null; readonly capability: string; readonly who: Somebody }): ApiError {
  const { model, capability } = o;
  const theirs = ofTheirs(table, o.who);
  const known = theirs.filter((one) => one.capabilities.includes(capability)).map((one) => one.id);
  const listed = known.length === 0 ? `No declared plugin offers ${capability}.` : `Known here: ${known.join(', ')}.`;
  const other = model === null ? undefined : theirs.find((one) => one.id === model || one.plugin === model);
  const why = model === null ? '' : other === undefined ? `There is no model "${model}". ` : `The model "${model}" does not do ${capability}, only ${other.capabilities.join(', ')}. `;
  return { status: 404, code: 'model_not_found', param: 'model', message: `${why}${listed}` };
}
