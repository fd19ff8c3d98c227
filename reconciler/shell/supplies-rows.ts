// Rows of SQLite that follow what is in memory: written at once, and again later while the database is busy or the disk full.

/** A lock or a full disk lasts a while; one try costs a few milliseconds. */
const RETRY_MS = 1_000;

export type RowsOptions = {
  /** Writes what is known of this name now; throws when it cannot. */
  readonly write: (name: string) => void;
  /** Told once until all is written again. */
  readonly onFault: (name: string, error: unknown) => void;
};

/** Memory is the truth while bkg runs: a row that cannot be written now is late, never lost silently. */
export function openRows(options: RowsOptions) {
  const late = new Set<string>();
  let timer: NodeJS.Timeout | null = null;
  let told = false;
  let closed = false;

  function flush(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    for (const name of late) {
      try {
        options.write(name);
        late.delete(name);
      } catch (error) {
        // The next try begins with another one. One fault is enough for now: each may have waited for the lock.
        late.delete(name);
        late.add(name);
        if (!told) options.onFault(name, error);
        told = true;
        if (!closed) timer = setTimeout(flush, RETRY_MS).unref();
        return;
      }
    }
    told = false;
  }

  return {
    save(name: string): void {
      late.add(name);
      flush();
    },
    /** Tries once more; what is late then is found out anew at the next start. */
    close(): void {
      closed = true;
      flush();
    },
  };
}
