// Begins work that nobody awaits; its fault has one place to go, never an unhandled rejection that ends bkg.

/** `onFault` is told what the work throws, at once or later. It must not throw itself. */
export function begin(work: () => Promise<unknown>, onFault: (error: unknown) => void): void {
  void (async () => { await work(); })().catch(onFault);
}
