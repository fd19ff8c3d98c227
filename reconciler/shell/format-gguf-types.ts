// How the numbers of a GGUF tensor are packed, by the ids that llama.cpp gives them, and the names of whole-file quantisations.

/** So many numbers lie in so many bytes. */
export type Packing = { readonly name: string; readonly block: number; readonly bytes: number };

/** Checked against what the llama.cpp build of node-llama-cpp 3.22 says of each id. */
const PACKINGS: readonly (readonly [id: number, name: string, block: number, bytes: number])[] = [
  [0, 'F32', 1, 4], [1, 'F16', 1, 2], [2, 'Q4_0', 32, 18], [3, 'Q4_1', 32, 20], [6, 'Q5_0', 32, 22], [7, 'Q5_1', 32, 24], [8, 'Q8_0', 32, 34],
  [9, 'Q8_1', 32, 36], [10, 'Q2_K', 256, 84], [11, 'Q3_K', 256, 110], [12, 'Q4_K', 256, 144], [13, 'Q5_K', 256, 176], [14, 'Q6_K', 256, 210],
  [15, 'Q8_K', 256, 292], [16, 'IQ2_XXS', 256, 66], [17, 'IQ2_XS', 256, 74], [18, 'IQ3_XXS', 256, 98], [19, 'IQ1_S', 256, 50], [20, 'IQ4_NL', 32, 18],
  [21, 'IQ3_S', 256, 110], [22, 'IQ2_S', 256, 82], [23, 'IQ4_XS', 256, 136], [24, 'I8', 1, 1], [25, 'I16', 1, 2], [26, 'I32', 1, 4], [27, 'I64', 1, 8],
  [28, 'F64', 1, 8], [29, 'IQ1_M', 256, 56], [30, 'BF16', 1, 2], [34, 'TQ1_0', 256, 54], [35, 'TQ2_0', 256, 66], [39, 'MXFP4', 32, 17],
  [40, 'NVFP4', 64, 36], [41, 'Q1_0', 128, 18], [42, 'Q2_0', 64, 18],
];

/** Ids that llama.cpp has given up: files with these are old, not broken. */
const GIVEN_UP: ReadonlyMap<number, string> = new Map([
  [4, 'Q4_2'], [5, 'Q4_3'], [31, 'Q4_0_4_4'], [32, 'Q4_0_4_8'], [33, 'Q4_0_8_8'], [36, 'IQ4_NL_4_4'], [37, 'IQ4_NL_4_8'], [38, 'IQ4_NL_8_8'],
]);

const packings: ReadonlyMap<number, Packing> = new Map(PACKINGS.map(([id, name, block, bytes]) => [id, { name, block, bytes }]));

/** The packing, or what to say of an id that has none. */
export function packingOf(id: number): Packing | string {
  const old = GIVEN_UP.get(id);
  if (old !== undefined) return `type ${old}, which llama.cpp no longer reads; take a newer file of this model`;
  return packings.get(id) ?? `the unknown type ${id}; it was made for a newer or another engine`;
}

/** `general.file_type`: which mixture of types the maker chose. */
const MIXTURES: ReadonlyMap<number, string> = new Map([
  [0, 'F32'], [1, 'F16'], [2, 'Q4_0'], [3, 'Q4_1'], [4, 'Q4_1'], [7, 'Q8_0'], [8, 'Q5_0'], [9, 'Q5_1'], [10, 'Q2_K'], [11, 'Q3_K_S'], [12, 'Q3_K_M'],
  [13, 'Q3_K_L'], [14, 'Q4_K_S'], [15, 'Q4_K_M'], [16, 'Q5_K_S'], [17, 'Q5_K_M'], [18, 'Q6_K'], [19, 'IQ2_XXS'], [20, 'IQ2_XS'], [21, 'Q2_K_S'],
  [22, 'IQ3_XS'], [23, 'IQ3_XXS'], [24, 'IQ1_S'], [25, 'IQ4_NL'], [26, 'IQ3_S'], [27, 'IQ3_M'], [28, 'IQ2_S'], [29, 'IQ2_M'], [30, 'IQ4_XS'],
  [31, 'IQ1_M'], [32, 'BF16'], [36, 'TQ1_0'], [37, 'TQ2_0'], [38, 'MXFP4'], [39, 'NVFP4'], [40, 'Q1_0'], [41, 'Q2_0'],
]);

/** Set where the file type is a guess of the program that wrote it. */
const GUESSED = 1024;

export const mixtureOf = (fileType: number): string | null => MIXTURES.get(fileType >= GUESSED ? fileType - GUESSED : fileType) ?? null;
