// A mistake of the owner as data: what, where in the file, and what to do about it.

export type Problem = {
  /** For machines, CamelCase: UnknownKey, WrongType, YamlSyntax, MissingReference, NeedsCycle … */
  readonly code: string;
  /** JSON Pointer (RFC 6901) into the document; empty for the whole. */
  readonly pointer: string;
  /** One-based; null when the place is not in the file (a request body, say). */
  readonly line: number | null;
  readonly column: number | null;
  /** For people: what is wrong, naming the value where that is no secret. */
  readonly message: string;
  /** What to write instead; null when nothing better than the message can be said. */
  readonly hint: string | null;
  /** A warning does not make the file invalid. */
  readonly severity: 'error' | 'warning';
};
