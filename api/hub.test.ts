// Searching a hub: what is asked and shown, where the token goes, what is kept, and what is said when the hub is away or answers nonsense.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openHub, type HubQuery } from './hub.ts';
import { quantizationOf, rowsOf, sourcesOf } from './hub-rows.ts';
import { refusalIn, type Refusal } from './problem.ts';

type Seen = { readonly path: string; readonly query: URLSearchParams; readonly authorization: string | undefined };
type Web = { readonly url: string; readonly host: string; readonly seen: Seen[]; answer: (seen: Seen, response: ServerResponse, request: IncomingMessage) => void; close(): void };

const webs: Web[] = [];
async function web(answer: Web['answer']): Promise<Web> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://x');
    const seen = { path: url.pathname, query: url.searchParams, authorization: request.headers.authorization };
    made.seen.push(seen);
    made.answer(seen, response, request);
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const made: Web = { url: `http://${host}`, host, seen: [], answer, close: () => { server.closeAllConnections(); server.close(); } };
  webs.push(made);
  return made;
}

const HASH = 'c'.repeat(64);
const files = (...names: readonly string[]) => names.map((rfilename) => ({ rfilename }));
const REPO = { id: 'org/Small-GGUF', downloads: 12, likes: 3, gated: false, lastModified: '2026-01-02T03:04:05.000Z', tags: ['gguf', 'license:apache-2.0'], siblings: files('README.md', 'small-Q8_0.gguf', 'small-q4_k_m.gguf') };
const json = (response: ServerResponse, body: unknown, status = 200): void => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
const QUERY: HubQuery = { words: 'small one', limit: 5, format: 'gguf' };
const going = (): AbortSignal => new AbortController().signal;

async function refusal(endpoint: string, env: Readonly<Record<string, string>> = {}): Promise<Refusal> {
  const error: unknown = await openHub({ HF_ENDPOINT: endpoint, ...env }).search(QUERY, going()).then(() => null, (thrown: unknown) => thrown);
  const found = refusalIn(error);
  assert.ok(found !== null, String(error));
  return found;
}

const hub = suite('hub');
hub.after.each(() => { for (const one of webs.splice(0)) one.close(); });

hub('asks for what is downloaded most, then for the sizes, with the token', async () => {
  const own = await web(({ path }, response) => (path === '/mirror/api/models' ? json(response, [REPO]) : json(response, { siblings: [{ rfilename: 'small-q4_k_m.gguf', size: 400, lfs: { sha256: HASH, size: 400 } }, { rfilename: 'small-Q8_0.gguf', size: 800 }] })));
  const rows = await openHub({ HF_ENDPOINT: `${own.url}/mirror/`, HF_TOKEN: 'hf_secret' }).search(QUERY, going());
  assert.equal(rows, [{
    id: 'org/Small-GGUF', downloads: 12, likes: 3, gated: false, licence: 'apache-2.0', updatedAt: '2026-01-02T03:04:05.000Z',
    sources: [{ source: 'hf://org/Small-GGUF/small-q4_k_m.gguf', quantization: 'Q4_K_M', bytes: 400, sha256: HASH }, { source: 'hf://org/Small-GGUF/small-Q8_0.gguf', quantization: 'Q8_0', bytes: 800, sha256: null }],
  }]);
  const [first, second] = own.seen;
  assert.equal(['search', 'filter', 'sort', 'limit'].map((name) => first?.query.get(name)), ['small one', 'gguf', 'downloads', '5']);
  assert.ok(first?.query.getAll('expand').includes('siblings'));
  assert.equal([second?.path, second?.query.get('blobs')], ['/mirror/api/models/org/Small-GGUF', 'true']);
  assert.equal(own.seen.map(({ authorization }) => authorization), ['Bearer hf_secret', 'Bearer hf_secret']);
});

hub('the token goes to the hub only', async () => {
  const other = await web((_seen, response) => json(response, [REPO]));
  const own = await web((_seen, response) => void response.writeHead(302, { location: `${other.url}/api/models` }).end());
  assert.is((await openHub({ HF_ENDPOINT: own.url, HF_TOKEN: 'hf_secret' }).search(QUERY, going())).length, 1);
  assert.ok(own.seen.length > 0 && own.seen.every(({ authorization }) => authorization === 'Bearer hf_secret'));
  assert.ok(other.seen.length > 0 && other.seen.every(({ authorization }) => authorization === undefined));
});

hub('the same question is asked once a minute, another one anew; what failed is not kept', async () => {
  const own = await web((_seen, response) => json(response, [], 500));
  const searching = openHub({ HF_ENDPOINT: own.url });
  await searching.search(QUERY, going()).then(() => assert.unreachable(), () => undefined);
  own.answer = (_seen, response) => json(response, []);
  for (const query of [QUERY, QUERY, { ...QUERY, format: 'onnx' as const }, { ...QUERY, limit: 6 }]) assert.equal(await searching.search(query, going()), []);
  assert.is(own.seen.length, 4);
});

hub('sizes that do not come keep no answer', async () => {
  const own = await web(({ path }, response) => (path === '/api/models' ? json(response, [REPO, { ...REPO, id: 'org/gated', gated: 'manual' }]) : json(response, {}, 403)));
  const rows = await openHub({ HF_ENDPOINT: own.url }).search(QUERY, going());
  assert.equal(rows.map(({ id, gated, sources }) => [id, gated, sources[0]?.bytes]), [['org/Small-GGUF', false, null], ['org/gated', true, null]]);
  assert.ok(own.seen.every(({ authorization }) => authorization === undefined));
});

hub('a hub that is away, wrong or busy is told with what to do', async () => {
  const own = await web((_seen, response) => json(response, []));
  const { url } = own;
  const said = async (answer: Web['answer'], env: Readonly<Record<string, string>> = {}): Promise<Refusal> => {
    own.answer = answer;
    return refusal(url, env);
  };
  const busy = await said((_seen, response) => void response.writeHead(429, { 'retry-after': '7' }).end());
  assert.equal([busy.status, busy.code, busy.headers?.['retry-after']], [503, 'HubBusy', '7']);
  const token = await said((_seen, response) => json(response, {}, 401), { HF_TOKEN: 'hf_secret' });
  assert.equal([token.status, token.code], [502, 'HubRefused']);
  assert.match(token.detail, /HF_TOKEN/);
  assert.not.match(token.detail, 'hf_secret');
  assert.is((await said((_seen, response) => json(response, {}, 502))).code, 'HubUnreachable');
  for (const answer of [
    (_seen: Seen, response: ServerResponse) => void response.end('<html>'), (_seen: Seen, response: ServerResponse) => json(response, { error: 'x' }), (_seen: Seen, response: ServerResponse) => json(response, {}, 404),
    (_seen: Seen, response: ServerResponse) => json(response, ['x'.repeat(9 * 2 ** 20)]),
  ]) assert.equal([(await said(answer)).status, (await said(answer)).code], [502, 'HubUnexpected']);
  own.close();
  const away = await refusal(url);
  assert.equal([away.status, away.code], [503, 'HubUnreachable']);
  assert.match(away.detail, new RegExp(`^${own.host} cannot be reached: .*ECONNREFUSED`));
  assert.match(away.detail, /HF_ENDPOINT.*file:.*https:/s);
  assert.match((await refusal('not an address')).detail, /^HF_ENDPOINT is "not an address"/);
  assert.is((await refusal('ftp://h')).code, 'HubUnreachable');
});

hub('a proxy of the environment is asked, unless the hub needs none', async () => {
  const proxy = await web((_seen, response) => json(response, [{ ...REPO, siblings: [] }]));
  const rows = await openHub({ HF_ENDPOINT: 'http://hub.invalid', HTTP_PROXY: proxy.url }).search(QUERY, going());
  assert.is(rows[0]?.id, REPO.id);
  assert.is(proxy.seen.length, 1);
  assert.is((await refusal('http://hub.invalid', { http_proxy: proxy.url, no_proxy: 'hub.invalid' })).code, 'HubUnreachable');
  assert.is(proxy.seen.length, 1);
});

hub('who goes away ends the question', async () => {
  let gone = (): void => undefined;
  const closed = new Promise<void>((resolve) => { gone = resolve; });
  const leaving = new AbortController();
  const own = await web((_seen, response) => {
    response.once('close', gone);
    leaving.abort();
  });
  await openHub({ HF_ENDPOINT: own.url }).search(QUERY, leaving.signal).then(() => assert.unreachable(), () => undefined);
  await closed;
});

hub('of the files of a repository those are chosen that are a model by themselves', () => {
  const chosen = (names: readonly string[], format: 'gguf' | 'onnx' | 'safetensors' = 'gguf'): readonly string[] => sourcesOf('o/r', files(...names), format).map(({ source }) => source.slice('hf://o/r/'.length));
  assert.equal(chosen(['m-F16.gguf', 'm-Q2_K.gguf', 'm-Q8_0.gguf', 'm-IQ4_XS.gguf', 'm-Q4_K_M.gguf', 'm-Q5_K_M.gguf', 'x/m-Q4_K_M.gguf', 'mmproj-m-F16.gguf', 'm.imatrix']), ['m-Q4_K_M.gguf', 'm-Q5_K_M.gguf', 'm-Q8_0.gguf', 'm-IQ4_XS.gguf']);
  assert.equal(chosen(['m-Q4_K_M-00001-of-00002.gguf', 'a b.gguf', 'a@b.gguf', '../../x.gguf', 'x/../y.gguf', 'e\u001b[2J.gguf', `${'x'.repeat(300)}.gguf`]), []);
  assert.equal(chosen(['m-Q4_K_M-00002-of-00002.gguf', 'm-Q4_K_M-00001-of-00002.gguf', 'm-Q8_0.gguf']), ['m-Q4_K_M-00001-of-00002.gguf', 'm-Q8_0.gguf']);
  assert.equal(sourcesOf('o/r', files('model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors', 'x/m-00001-of-00002.safetensors', 'x/m-00002-of-00002.safetensors'), 'safetensors').map(({ source }) => source), ['hf://o/r', 'hf://o/r/x/']);
  assert.equal(chosen(['onnx/model_int8.onnx', 'onnx/model.onnx', 'model.onnx'], 'onnx'), ['model.onnx', 'onnx/model.onnx', 'onnx/model_int8.onnx']);
  assert.equal(chosen(['tokenizer.safetensors', 'model.safetensors', 'adapter_model.safetensors'], 'safetensors'), ['model.safetensors', 'tokenizer.safetensors']);
  assert.equal(['a-q5_k_m.gguf', 'x-0.5b.gguf', 'm.UD-Q4_K_XL.gguf', 'q-IQ2_M.gguf', 'bf16/m-BF16.gguf'].map(quantizationOf), ['Q5_K_M', null, 'Q4_K_XL', 'IQ2_M', 'BF16']);
});

hub('nothing that a hub says is believed unseen', () => {
  assert.is(rowsOf({ models: [] }, 'gguf'), null);
  assert.equal(rowsOf([null, 3, { id: 'no-slash' }, { id: '../../etc/passwd' }, { id: '../..' }, { id: './r' }, { id: 'a/b c' }, { id: 'o/r', downloads: -1, likes: '9', gated: {}, lastModified: 'x', tags: 'x', siblings: 'x' }], 'gguf'), [
    { id: 'o/r', sources: [], downloads: null, likes: null, gated: false, licence: null, updatedAt: null },
  ]);
  assert.is(rowsOf([{ id: 'o/r', tags: ['license:\u001b[31mmit'] }], 'gguf')?.[0]?.licence, null);
});

hub.run();
