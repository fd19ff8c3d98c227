// Trains bkg-mini: a llama of two million parameters, on the CPU; from the same files the same bytes on the same machine.
//
//   train TOKENS FIRST WEIGHTS
//
// TOKENS  (written by convert.py) int32 count; then per conversation int32 length, length * uint16 token, length * uint8: how much is it learned?
//         They are read once, in their order.
// FIRST   the weights to begin with, and
// WEIGHTS those learned: float32, in the order of `layout`; matrices as [in][out].
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "train.h"

#define SAY_EVERY_S 15

typedef struct {
  int length;
  uint16_t *ids;
  uint8_t *learned;
} Talk;

static void need(size_t got, size_t wanted, const char *path) {
  if (got == wanted) return;
  fprintf(stderr, "%s ends too early\n", path);
  exit(1);
}

static Talk *read_talks(const char *path, int *count) {
  FILE *file = fopen(path, "rb");
  if (!file) perror(path), exit(1);
  int32_t number;
  need(fread(&number, sizeof number, 1, file), 1, path);
  Talk *talks = memory(sizeof(Talk) * (size_t)number);
  for (int i = 0; i < number; i++) {
    int32_t length;
    need(fread(&length, sizeof length, 1, file), 1, path);
    if (length < 2 || length > LENGTH_MAX) fprintf(stderr, "%s: conversation %d has %d tokens; 2 to %d may be\n", path, i, length, LENGTH_MAX), exit(1);
    talks[i] = (Talk){length, memory((size_t)length * sizeof(uint16_t)), memory((size_t)length)};
    need(fread(talks[i].ids, sizeof(uint16_t), (size_t)length, file), (size_t)length, path);
    need(fread(talks[i].learned, 1, (size_t)length, file), (size_t)length, path);
    for (int t = 0; t < length; t++)
      if (talks[i].ids[t] >= VOCAB) fprintf(stderr, "%s: token %d is none of %d\n", path, talks[i].ids[t], VOCAB), exit(1);
  }
  fclose(file);
  *count = number;
  return talks;
}

static void append(Batch *b, const Talk *talk) {
  b->start[b->texts++] = b->tokens;
  for (int t = 0; t + 1 < talk->length; t++, b->tokens++) {
    b->ids[b->tokens] = talk->ids[t], b->targets[b->tokens] = talk->ids[t + 1];
    b->position[b->tokens] = t, b->learned[b->tokens] = talk->learned[t + 1];
  }
  b->start[b->texts] = b->tokens;
}

static void gather(Batch pieces[PIECES], const Talk *talks, int count, int *next) {
  for (Batch *b = pieces; b < pieces + PIECES; b++)
    for (b->tokens = b->texts = 0; b->tokens < PIECE_TOKENS && *next < count; (*next)++) append(b, &talks[*next]);
}

/** As many as `gather` makes of all conversations. */
static int count_steps(const Talk *talks, int count) {
  int pieces = 0, tokens = PIECE_TOKENS;
  for (int i = 0; i < count; i++) {
    if (tokens >= PIECE_TOKENS) pieces++, tokens = 0;
    tokens += talks[i].length - 1;
  }
  return (pieces + PIECES - 1) / PIECES;
}

/** How far a step has come: of each piece, and which works are free. */
typedef struct {
  enum { NEW, ON_ITS_WAY, THERE, ON_ITS_WAY_BACK, DONE } pieces[PIECES];
  Work *of[PIECES], *free[WORKS];
  int free_count, begun_back;
} Course;

/** What this thread does next: a way back whose turn it is, else a way there; -1 while it has to wait. The lowest piece first, so that works get free. */
static int next_piece(Course *c) {
  for (int p = 0; p < PIECES; p++)
    if (c->pieces[p] == THERE && (p < ROWS_OF_PIECES || c->pieces[p - ROWS_OF_PIECES] == DONE)) {
      c->pieces[p] = ON_ITS_WAY_BACK, c->begun_back++;
      return p;
    }
  for (int p = 0; p < PIECES && c->free_count > 0; p++)
    if (c->pieces[p] == NEW) {
      c->pieces[p] = ON_ITS_WAY, c->of[p] = c->free[--c->free_count];
      return p;
    }
  return -1;
}

/**
 * The loss of a step, and its slope into the first of `slopes`. Whichever thread is free goes on with a piece, for one may be slower than the other;
 * to which of the slopes a piece adds its own, and after which piece, is fixed, and so is the order of every sum.
 */
static float learn_all(const Batch pieces[PIECES], const Model *m, float *slopes[ROWS_OF_PIECES], Work *const works[WORKS]) {
  float weight = 0, loss = 0, losses[PIECES];
  for (const Batch *b = pieces; b < pieces + PIECES; b++)
    for (int t = 0; t < b->tokens; t++) weight += b->learned[t];
  Course course = {.free_count = WORKS};
  memcpy(course.free, works, sizeof course.free);
#pragma omp parallel
  {
#pragma omp for
    for (int s = 0; s < ROWS_OF_PIECES; s++) memset(slopes[s], 0, parameters * sizeof(float));
    for (int is_over = 0; !is_over;) {
      int p, is_back = 0;
#pragma omp critical
      {
        p = next_piece(&course);
        is_back = p >= 0 && course.pieces[p] == ON_ITS_WAY_BACK;
        is_over = course.begun_back == PIECES;
      }
      if (p < 0) {
        if (!is_over) sched_yield();
        continue;
      }
      if (is_back) {
        Model g = view(slopes[p % ROWS_OF_PIECES]);
        back(&pieces[p], m, course.of[p], &g);
      } else losses[p] = there(&pieces[p], weight, m, course.of[p]);
#pragma omp critical
      {
        course.pieces[p] = is_back ? DONE : THERE;
        if (is_back) course.free[course.free_count++] = course.of[p];
      }
    }
  }
  for (int p = 0; p < PIECES; p++) loss += losses[p];
  for (int s = 1; s < ROWS_OF_PIECES; s++)
    for (size_t i = 0; i < parameters; i++) slopes[0][i] += slopes[s][i];
  return loss;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  if (argc != 4) return fprintf(stderr, "usage: train TOKENS FIRST WEIGHTS\n"), 2;
  omp_set_num_threads(THREADS);
  omp_set_dynamic(0);
  layout();
  int threads = 0;
#pragma omp parallel
  {
    prepare();
#pragma omp single
    threads = omp_get_num_threads();
  }
  if (threads != THREADS) return fprintf(stderr, "%d threads are wanted, and there may be %d\n", THREADS, threads), 1;
  int talk_count, next = 0;
  Talk *talks = read_talks(argv[1], &talk_count);
  const int steps = count_steps(talks, talk_count);
  float *all = floats(parameters), *slopes[ROWS_OF_PIECES];
  for (int s = 0; s < ROWS_OF_PIECES; s++) slopes[s] = floats(parameters);
  Work *works[WORKS];
  for (int w = 0; w < WORKS; w++) works[w] = make_work();
  FILE *begun = fopen(argv[2], "rb");
  if (!begun) return perror(argv[2]), 1;
  need(fread(all, sizeof(float), parameters, begun), parameters, argv[2]);
  fclose(begun);
  const Model m = view(all);
  const size_t n = PIECE_TOKENS_MAX;
  Batch pieces[PIECES];
  for (int p = 0; p < PIECES; p++) pieces[p] = (Batch){.ids = memory(sizeof(int) * n), .targets = memory(sizeof(int) * n), .position = memory(sizeof(int) * n), .learned = memory(n), .start = memory(sizeof(int) * (n + 1))};
  const double began = now();
  double said = began, tokens = 0, sum = 0;
  int summed = 0;
  for (int step = 1; step <= steps; step++) {
    gather(pieces, talks, talk_count, &next);
    sum += learn_all(pieces, &m, slopes, works), summed++;
    for (int p = 0; p < PIECES; p++) tokens += pieces[p].tokens;
    update(all, slopes[0], step, steps);
    if (now() - said > SAY_EVERY_S || step == steps) {
      said = now();
      printf("step %d/%d  loss %.4f  %.0f tokens/s  %.1f min left\n", step, steps, sum / summed, tokens / (said - began), (said - began) / step * (steps - step) / 60);
      fflush(stdout);
      sum = 0, summed = 0;
    }
  }
  FILE *out = fopen(argv[3], "wb");
  if (!out || fwrite(all, sizeof(float), parameters, out) != parameters || fclose(out)) return perror(argv[3]), 1;
  printf("%zu parameters\n", parameters);
  return 0;
}
