// What the files of the trainer share: the shape of the model, its weights in one row of numbers, a batch, and the functions across files.
#pragma once
#include <stddef.h>
#include <stdint.h>

#if !defined VOCAB || !defined WIDTH || !defined LAYERS || !defined HEADS || !defined INNER || !defined CONTEXT || !defined ROPE_BASE || !defined EPSILON
#error "make.ts gives the shape: -DVOCAB=… -DWIDTH=… and so on"
#endif

#define HEAD_WIDTH (WIDTH / HEADS)
#define LENGTH_MAX CONTEXT
#define THREADS 2
/** A step learns from so many pieces, each of so many tokens and at most one conversation more. Larger pieces are slower. */
#define PIECES 8
/** The slopes of pieces add up in so many rows, in each one after another. */
#define ROWS_OF_PIECES 2
/** So many pieces may be under way at once. */
#define WORKS 4
#define PIECE_TOKENS 512
#define PIECE_TOKENS_MAX (PIECE_TOKENS + LENGTH_MAX)

#ifdef __AVX512F__
enum { LANES = 16 };
#else
enum { LANES = 8 };
#endif
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

// ─── Weights ────────────────────────────────────────────────────────────────────────────────────────────────────────────

typedef struct {
  float *attn_norm, *q, *k, *v, *o, *ffn_norm, *gate, *up, *down;
} Layer;
typedef struct {
  /** What a word is when it is read, and when it is said. */
  float *words, *said, *norm;
  Layer layers[LAYERS];
} Model;
/** `columns` 1: a norm. */
typedef struct {
  size_t at, rows, columns;
} Part;

enum { LAYER_PARTS = 9, FIRST_PARTS = 3, PARTS = FIRST_PARTS + LAYER_PARTS * LAYERS };
/** The order of all parts in one row of numbers, once `layout` has run. */
extern Part parts[PARTS];
extern size_t parameters;
void layout(void);
Model view(float *all);

static inline int least(int a, int b) { return a < b ? a : b; }

/** Zeros; ends the program when there are none. */
void *memory(size_t bytes);
float *floats(size_t count);

// ─── Products of matrices ───────────────────────────────────────────────────────────────────────────────────────────────

/** Element (i, k) lies at `at[i * row + k * column]`; one of the two is 1. */
typedef struct {
  const float *at;
  size_t row, column;
} Matrix;
static inline Matrix plain(const float *at, size_t width) { return (Matrix){at, width, 1}; }
/** The same numbers as rows of columns. */
static inline Matrix turned(const float *at, size_t width) { return (Matrix){at, 1, width}; }

typedef struct {
  int rows, columns, depth;
} Sizes;
typedef enum { SET, ADD } Into;
/** C = A B, or C += A B, on this thread; C lies row by row. The depth of a matrix whose depth lies in a row is a multiple of four. */
void multiply(Sizes s, Matrix a, Matrix b, float *c, Into into);
/** The same on a unit for matrices, of numbers rounded to sixteen bits; returns 0, and does nothing, where the processor has none. */
int multiply_in_tiles(Sizes s, Matrix a, Matrix b, float *c, Into into);

// ─── One step ───────────────────────────────────────────────────────────────────────────────────────────────────────────

typedef struct {
  int tokens, texts;
  int *ids, *targets, *position;
  /** How much the token after it is learned; 0: not. */
  uint8_t *learned;
  /** Of each text, and the end of the last. */
  int *start;
} Batch;

/** All heads of all tokens, each [tokens][WIDTH]: what is looked for, what is found by it, what it holds, and what was seen. */
typedef struct {
  float *q, *k, *v, *seen;
} Heads;
/** Makes `seen` of the tokens that are `wanted` (0: of all). */
void attend(const Batch *b, Heads h, const uint8_t *wanted);
/** From the slopes of what was seen those of q, k and v. */
void attend_back(const Batch *b, Heads h, Heads d, const uint8_t *wanted);

/** What a batch leaves on its way there for its way back. */
typedef struct Work Work;
Work *make_work(void);
/** Gets memory for the way back on this thread. */
void prepare(void);
/** The loss of a batch, each learned token by its share of `weight`. */
float there(const Batch *b, float weight, const Model *m, Work *work);
/** Adds its slope to `g`. */
void back(const Batch *b, const Model *m, Work *work, Model *g);
/** Changes all weights by their slopes. */
void update(float *all, float *slope, int step, int steps);
