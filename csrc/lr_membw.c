#define _DEFAULT_SOURCE 1 /* madvise, besides what POSIX has */
#include "lr_membw.h"

#include <stddef.h>

#ifdef _WIN32

lr_status lr_membw_read(uint32_t threads, uint64_t bytes, uint32_t passes, uint64_t budget_ns,
                        uint64_t *bytes_per_second) {
    (void)threads, (void)bytes, (void)passes, (void)budget_ns, (void)bytes_per_second;
    return LR_E_UNSUPPORTED;
}

#else

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { LEAST = 1 << 16, LANES = 16, HUGE_PAGE = 1 << 21, STEP = 1 << 17 };

/* What the threads share: a pass begins when all stand at its gate. */
typedef struct {
    atomic_uint waiting;
    atomic_uint pass;       /* the one that runs; passes are counted from 1, 0 fills the buffer */
    atomic_bool stop;
    uint32_t threads;
    uint64_t fill_deadline; /* ns; what is filled by then is what is read */
    uint64_t deadline;      /* ns; the first pass runs all the same */
} gate;

typedef struct {
    gate *gate;
    uint64_t *words;
    size_t n;
    uint64_t started, ended; /* of the last pass, ns */
    uint64_t sum;            /* kept, so that the reads are not thrown away */
    pthread_t thread;
} worker;

static uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Sums in independent lanes: one sum would wait for each addition before the next, and measure that. */
static uint64_t sum_words(const uint64_t *words, size_t n) {
    uint64_t lane[LANES] = {0}, sum = 0;
    for (size_t i = 0; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++) lane[k] += words[i + k];
    for (size_t k = 0; k < LANES; k++) sum += lane[k];
    return sum;
}

/* Writing gives each page memory of its own, near the thread that will read it. A virtual machine may have to
 * wait for its host with each page: `n` is cut to what was written by the deadline. */
static void fill_words(worker *w) {
    size_t done = 0;
    while (done < w->n && (done == 0 || clock_ns() < w->gate->fill_deadline))
        for (size_t end = done + STEP < w->n ? done + STEP : w->n; done < end; done++) w->words[done] = done | 1;
    w->n = done;
}

/* Stands at the gate until pass `pass` begins; the main thread opens it. */
static void await_pass(gate *g, uint32_t pass) {
    atomic_fetch_add(&g->waiting, 1);
    while (atomic_load(&g->pass) < pass && !atomic_load(&g->stop)) sched_yield();
}

static void *work(void *argument) {
    worker *w = argument;
    fill_words(w);
    for (uint32_t pass = 1;; pass++) {
        await_pass(w->gate, pass);
        if (atomic_load(&w->gate->stop)) return NULL;
        w->started = clock_ns();
        w->sum += sum_words(w->words, w->n);
        w->ended = clock_ns();
    }
}

static void await_all(gate *g) {
    while (atomic_load(&g->waiting) < g->threads) sched_yield();
}

/* Runs the passes; the bytes per second of the best. The workers stand at the gate before and after. */
static uint64_t best_pass(gate *g, const worker *workers, uint32_t passes) {
    uint64_t best = UINT64_MAX, words = 0;
    await_all(g);
    for (uint32_t i = 0; i < g->threads; i++) words += workers[i].n;
    for (uint32_t pass = 1; pass <= passes && (pass == 1 || clock_ns() < g->deadline); pass++) {
        atomic_store(&g->waiting, 0);
        atomic_store(&g->pass, pass);
        await_all(g);
        uint64_t started = UINT64_MAX, ended = 0;
        for (uint32_t i = 0; i < g->threads; i++) {
            if (workers[i].started < started) started = workers[i].started;
            if (workers[i].ended > ended) ended = workers[i].ended;
        }
        if (ended - started < best) best = ended - started;
    }
    return (uint64_t)((double)words * 8e9 / (double)(best > 0 ? best : 1));
}

static lr_status run(worker *workers, uint64_t *words, uint32_t threads, size_t share, uint32_t passes,
                     uint64_t budget_ns, uint64_t *rate) {
    uint64_t now = clock_ns();
    gate g = {.threads = threads, .fill_deadline = now + budget_ns / 2, .deadline = now + budget_ns};
    uint32_t started = 0;
    for (; started < threads; started++) {
        workers[started] = (worker){.gate = &g, .words = words + started * share, .n = share};
        if (pthread_create(&workers[started].thread, NULL, work, &workers[started]) != 0) break;
    }
    if (started == threads) *rate = best_pass(&g, workers, passes);
    atomic_store(&g.stop, true);
    for (uint32_t i = 0; i < started; i++) pthread_join(workers[i].thread, NULL);
    return started == threads ? LR_OK : LR_E_MEMORY;
}

/* In huge pages where the system has them: 64 thousand page faults take longer than the measurement. */
static void *take_memory(size_t bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, HUGE_PAGE, bytes) != 0) return NULL;
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

lr_status lr_membw_read(uint32_t threads, uint64_t bytes, uint32_t passes, uint64_t budget_ns,
                        uint64_t *bytes_per_second) {
    if (threads == 0 || threads > LR_MEMBW_THREADS || passes == 0 || passes > LR_MEMBW_PASSES) return LR_E_ARGUMENT;
    if (bytes_per_second == NULL || bytes / threads < LEAST || bytes > SIZE_MAX / 2) return LR_E_ARGUMENT;
    size_t share = (size_t)(bytes / threads) / 4096 * 512; /* words, whole pages each */
    uint64_t *words = take_memory(share * 8 * threads);
    worker *workers = calloc(threads, sizeof *workers);
    lr_status status = LR_E_MEMORY;
    if (workers != NULL && words != NULL)
        status = run(workers, words, threads, share, passes, budget_ns, bytes_per_second);
    free(words);
    free(workers);
    return status;
}

#endif
