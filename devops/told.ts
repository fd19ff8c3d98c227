// A mistake or a state of the world that is told to the person in plain words, without a stack.

export type Told = Error & { readonly told: true; readonly remedy: string | null };

/** To throw: what is wrong, and what to do about it. */
export function told(message: string, remedy: string | null = null): Told {
  return Object.assign(new Error(message), { told: true as const, remedy });
}

export const isTold = (error: unknown): error is Told => error instanceof Error && 'told' in error;

/** `code` of a system error (`ENOENT` …) or of one of ours; empty when there is none. */
export const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : '');

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
