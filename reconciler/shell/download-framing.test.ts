// Heads and bodies of HTTP/1.1, cut into pieces at every byte.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { framingOf, parseHead } from './download-framing.ts';

/** What the framing takes for the body, fed in pieces; and how many bytes it leaves, null while it waits for more. */
function read(head: string, stream: string, piece: number): readonly [string, number | null] {
  const framing = framingOf(parseHead(head));
  let body = '';
  for (let at = 0; at < stream.length; at += piece) {
    const bytes = Buffer.from(stream.slice(at, at + piece), 'latin1');
    const took = framing(bytes, (part) => { body += part.toString('latin1'); });
    if (took !== null) return [body, stream.length - at - took];
  }
  return [body, null];
}

test('a body is the same in whatever pieces it comes', () => {
  const chunks = '5;name=value\r\nhello\r\n1 \r\n!\r\n0\r\nTrailer: x\r\n\r\nrest';
  for (let piece = 1; piece <= chunks.length; piece += 1) {
    assert.equal(read('HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 3', chunks, piece), ['hello!', 4]);
    assert.equal(read('HTTP/1.1 200\r\ncontent-length: 6', 'hello!rest', piece), ['hello!', 4]);
    assert.equal(read('HTTP/1.1 200 OK\r\nserver: x', 'hello!', piece), ['hello!', null]);
  }
  assert.equal(read('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked', chunks.slice(0, -9), 7), ['hello!', null], 'cut within the end');
});

test('a head tells how long its body is and whether the connection stays', () => {
  const of = (text: string): readonly (number | boolean | null)[] => { const { status, length, endless, keepsOpen } = parseHead(text); return [status, length, endless, keepsOpen]; };
  assert.equal(of('HTTP/1.1 206 Partial Content\r\nContent-Length:  12 '), [206, 12, false, true]);
  assert.equal(of('HTTP/1.0 200 OK\r\ncontent-length: 12'), [200, 12, false, false]);
  assert.equal(of('HTTP/1.1 200 OK\r\ncontent-length: 12\r\nConnection: Close'), [200, 12, false, false]);
  assert.equal(of('HTTP/1.1 200 OK'), [200, null, true, false]);
  assert.equal(of('HTTP/1.1 103 Early Hints\r\nlink: x'), [103, 0, false, true]);
  assert.is(parseHead('HTTP/1.1 302 Found\r\nLocation: a\r\nlocation: b').headers.get('location'), 'a');
});

test('what is no HTTP is refused', () => {
  const heads = ['SSH-2.0-OpenSSH_9.2', 'HTTP/2 200', 'HTTP/1.1 999 x', 'HTTP/1.1 200 OK\r\nno colon', 'HTTP/1.1 200 OK\r\nname : x', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2', 'HTTP/1.1 200 OK\r\ncontent-length: -1', 'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked'];
  for (const head of heads) assert.throws(() => parseHead(head), (error: NodeJS.ErrnoException) => error.code === 'NOT_HTTP', head);
  for (const chunks of ['x\r\n', '2\r\nabc\r\n', '-1\r\n', `${'1'.repeat(9000)}`]) assert.throws(() => read('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked', chunks, 3), (error: NodeJS.ErrnoException) => error.code === 'NOT_HTTP', chunks);
});

test.run();
