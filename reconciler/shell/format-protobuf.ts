// Walks protobuf messages field by field, without knowing what they mean.
import { damaged, type Reader } from './format-bytes.ts';

/** A graph of 100,000 nodes has some 2,000,000 fields. So many take some seconds: a file that has more is made to keep us busy. */
const FIELDS_MAX = 5_000_000;
/** Names are some words long; of longer texts only the beginning is kept. */
const TEXT_KEPT_BYTES = 400;

/** `value` of a number, -1 for everything below zero; `end` of the bytes of a text or message, which begin where the reader stands. */
export type Field = { readonly no: number; readonly value: number; readonly end: number };

const passed = new WeakMap<Reader, number>();

/** Calls `look` with each field up to `end`; what it has not read of it is passed over. A field that does not end there is a fault. */
export async function fields(reader: Reader, end: number, look: (field: Field) => Promise<void>): Promise<void> {
  while (reader.at() < end && reader.fault() === null) {
    const count = (passed.get(reader) ?? 0) + 1;
    passed.set(reader, count);
    if (count > FIELDS_MAX) return reader.fail(damaged('it is made of more pieces than any model'));
    const field = await readField(reader, end);
    if (field === null) return;
    await look(field);
    if (reader.fault() === null) reader.skip(field.end - reader.at(), 'a field');
  }
}

/** Of a field of 4 or 8 bytes the value is passed over: nothing that is wanted stands in one. */
async function readField(reader: Reader, end: number): Promise<Field | null> {
  const tag = await reader.varint('a field');
  const [no, wire] = [Math.floor(tag / 8), tag % 8];
  const value = wire === 0 || wire === 2 ? await reader.varint('a field') : 0;
  if (reader.fault() !== null) return null;
  const length = { 0: 0, 1: 8, 2: value, 5: 4 }[wire];
  if (no < 1 || length === undefined || length < 0) reader.fail(`is no ONNX model, or damaged: at ${reader.at()} stands what no protobuf has; check the source`);
  else if (reader.at() + length > reader.size_bytes) reader.skip(length, 'a part of it');
  else if (reader.at() + length > end) reader.fail(damaged('a part of it is longer than the whole that it belongs to'));
  if (reader.fault() !== null || length === undefined) return null;
  return { no, value: wire === 0 ? value : 0, end: reader.at() + length };
}

export async function readText(reader: Reader, field: Field): Promise<string> {
  return (await reader.take(Math.min(field.end - reader.at(), TEXT_KEPT_BYTES), 'a text')).toString('utf8');
}
