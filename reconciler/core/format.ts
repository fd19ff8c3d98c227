// What a model file says of itself: its format, its size, and all that tells how much memory it needs.

/** One file of a model that lies in several: `no` counts from 0. */
export type Shard = { readonly no: number; readonly count: number };

/**
 * What the header of a GGUF file says. Null: the file does not say it. `heads`, `kvHeads`, `keyLength` and `valueLength` are filled in as
 * llama.cpp does where the file is silent: as many key/value heads as heads, and the embedding shared among the heads.
 */
export type GgufFormat = {
  readonly format: 'gguf';
  readonly version: number;
  /** Null in the later files of a model that lies in several: only the first says it. */
  readonly architecture: string | null;
  readonly name: string | null;
  /** `Q4_K_M`, `F16` …; where the file does not say it, the type that most bytes have. Null without tensors. */
  readonly quantization: string | null;
  /** Tokens it was trained for. */
  readonly contextLength: number | null;
  readonly embeddingLength: number | null;
  readonly layers: number | null;
  /** Of the layer that has most. */
  readonly heads: number | null;
  readonly kvHeads: number | null;
  /** The key/value heads of all layers together; layers may differ. */
  readonly kvHeadsOfAllLayers: number | null;
  readonly keyLength: number | null;
  readonly valueLength: number | null;
  /** Tokens that a layer with a sliding window looks back. */
  readonly slidingWindow: number | null;
  /** The key/value heads of the layers with a sliding window; null where the file does not say which these are. */
  readonly kvHeadsOfSlidingLayers: number | null;
  /** False: it reads a text as a whole and keeps nothing of it between calls, as embedding models do. */
  readonly causal: boolean;
  readonly vocabulary: number | null;
  readonly tokenizer: string | null;
  readonly chatTemplate: boolean;
  readonly tensors: number;
  readonly parameters: number;
  readonly tensor_bytes: number;
  readonly shard: Shard | null;
};

export type SafetensorsFormat = {
  readonly format: 'safetensors';
  readonly tensors: number;
  readonly parameters: number;
  /** `F32`, `BF16` … → how many numbers have this type. */
  readonly parametersByType: Readonly<Record<string, number>>;
  readonly tensor_bytes: number;
  /** What its makers wrote beside the tensors; the first entries, cut where they are long. */
  readonly metadata: Readonly<Record<string, string>>;
};

/** An input or output of an ONNX graph. A dimension is a number, a name, or null for any; shape null: any shape at all. */
export type OnnxPort = { readonly name: string; readonly type: string; readonly shape: readonly (number | string | null)[] | null };

export type OnnxFormat = {
  readonly format: 'onnx';
  readonly irVersion: number;
  readonly producer: string | null;
  /** The empty domain is ONNX itself. */
  readonly opsets: readonly { readonly domain: string; readonly version: number }[];
  readonly inputs: readonly OnnxPort[];
  readonly outputs: readonly OnnxPort[];
  readonly initializers: number;
  /** Of initialisers and constants, in the file and beside it. */
  readonly parameters: number;
  readonly tensor_bytes: number;
  /** Names of the files beside it that hold some of its tensors. */
  readonly external: readonly string[];
};

/** A file of a kind that bkg does not look into. */
export type OtherFormat = { readonly format: 'other' };

export type ModelFormat = GgufFormat | SafetensorsFormat | OnnxFormat | OtherFormat;
