// Durations, sizes and shares as they are written, into numbers; null for what is none.

const milliseconds: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const bytes: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

function scaled(text: string, scale: Readonly<Record<string, number>>): number | null {
  const match = /^([0-9]+(?:\.[0-9]+)?)([A-Za-z]+)$/.exec(text);
  const factor = match === null || !Object.hasOwn(scale, match[2] ?? '') ? undefined : scale[match[2] ?? ''];
  return factor === undefined ? null : Math.round(Number(match?.[1]) * factor);
}

/** `500ms`, `10s`, `1.5h` → milliseconds. */
export function parseDuration_ms(text: string): number | null {
  return scaled(text, milliseconds);
}

/** `512MiB`, `4GB` → bytes; KiB counts 1024, KB 1000. */
export function parseSize_bytes(text: string): number | null {
  return scaled(text, bytes);
}

/** `150%` → 150. */
export function parsePercent(text: string): number | null {
  const match = /^([0-9]+(?:\.[0-9]+)?)%$/.exec(text);
  return match === null ? null : Number(match[1]);
}

const STEP = 1024;
const STEPS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** 1536000 → `1.5 MiB`, for people. */
export function sizeWords(size_bytes: number): string {
  const step = Math.min(STEPS.length - 1, size_bytes < 1 ? 0 : Math.floor(Math.log2(size_bytes) / Math.log2(STEP)));
  const value = size_bytes / STEP ** step;
  return `${Number(value.toFixed(value >= 100 || step === 0 ? 0 : 1))} ${STEPS[step]}`;
}
