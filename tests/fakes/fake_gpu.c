/* GPUs that exist only in a dry run: a ggml backend that allocates and computes nothing.
 *
 * llama.cpp places weights, cache and graphs on them as it would on CUDA devices: same alignment,
 * same row padding, same pinned host buffer, same copies of CPU weights for large batches.
 * FAKE_GPUS="bytes,bytes": free memory of each. Layouts are those of the pinned xllamacpp, whose
 * symbols must be visible (RTLD_GLOBAL).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_GPUS = 8, TYPE_F16 = 1, ROW_PADDING = 512, ALIGNMENT = 128, OFFLOAD_BATCH = 32 };

struct tensor { /* ggml_tensor, as far as it is read here */
    int32_t type;
    struct buffer *buffer;
    int64_t ne[4];
    size_t nb[4];
    int32_t op;
    int32_t op_params[16];
    int32_t flags;
    struct tensor *src[10];
    struct tensor *view_src;
    size_t view_offs;
    void *data;
};

struct buft {
    const char *(*get_name)(struct buft *);
    struct buffer *(*alloc_buffer)(struct buft *, size_t);
    void *alloc_buffer_n;
    size_t (*get_alignment)(struct buft *);
    void *get_max_size;
    size_t (*get_alloc_size)(struct buft *, const struct tensor *);
    void *get_alloc_size_n;
    bool (*is_host)(struct buft *);
    struct device *device;
    void *context;
};

struct buffer_i {
    void (*free_buffer)(struct buffer *);
    void *(*get_base)(struct buffer *);
    void *init_tensor, *memset_tensor;
    void (*set_tensor)(struct buffer *, struct tensor *, const void *, size_t, size_t);
    void (*get_tensor)(struct buffer *, const struct tensor *, void *, size_t, size_t);
    void *set_tensor_2d, *get_tensor_2d, *cpy_tensor;
    void (*clear)(struct buffer *, uint8_t);
    void *reset;
};

struct buffer {
    struct buffer_i iface;
    struct buft *buft;
    void *context;
    size_t size;
    int usage;
};

struct props {
    const char *name, *description;
    size_t memory_free, memory_total;
    int type;
    const char *device_id;
    bool async, host_buffer, buffer_from_host_ptr, events, mmap;
};

struct device {
    const char *(*get_name)(struct device *);
    const char *(*get_description)(struct device *);
    void (*get_memory)(struct device *, size_t *, size_t *);
    int (*get_type)(struct device *);
    void (*get_props)(struct device *, struct props *);
    struct backend *(*init_backend)(struct device *, const char *);
    struct buft *(*get_buffer_type)(struct device *);
    struct buft *(*get_host_buffer_type)(struct device *);
    void *buffer_from_host_ptr;
    bool (*supports_op)(struct device *, const struct tensor *);
    bool (*supports_buft)(struct device *, struct buft *);
    bool (*offload_op)(struct device *, const struct tensor *);
    void *(*event_new)(struct device *);
    void (*event_free)(struct device *, void *);
    void (*event_synchronize)(struct device *, void *);
    struct reg *reg;
    void *context;
};

struct backend {
    void *guid;
    const char *(*get_name)(struct backend *);
    void (*free)(struct backend *);
    void *set_async, *get_async, *set_2d_async, *get_2d_async, *cpy_async;
    void (*synchronize)(struct backend *);
    void *plan_create, *plan_free, *plan_update, *plan_compute;
    int (*graph_compute)(struct backend *, void *);
    void (*event_record)(struct backend *, void *);
    void (*event_wait)(struct backend *, void *);
    void *graph_optimize;
    struct device *device;
    void *context;
};

struct reg {
    int api_version;
    const char *(*get_name)(struct reg *);
    size_t (*get_device_count)(struct reg *);
    struct device *(*get_device)(struct reg *, size_t);
    void *get_proc_address;
    void *context;
};

struct event {
    struct device *device;
    void *context;
};

extern struct buffer *ggml_backend_buffer_init(struct buft *, struct buffer_i, void *, size_t);
extern struct reg *ggml_backend_reg_get(size_t);
extern size_t ggml_nbytes(const struct tensor *);
extern int64_t ggml_nelements(const struct tensor *);
extern size_t ggml_row_size(int type, int64_t ne);
extern bool ggml_is_quantized(int type);
extern const char *ggml_op_name(int op);
extern int64_t ggml_nrows(const struct tensor *);

static struct gpu {
    char name[16];
    size_t memory;
    struct buft buft;
    struct device device;
} gpus[MAX_GPUS];
static size_t n_gpus;
static struct buft host_buft;
static struct reg reg;

static size_t pad(size_t n) { return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* Pinned memory is plain memory here: the engine's output buffer really lies in it. */
static void memory_free(struct buffer *b) { free(b->context); }
static void *memory_base(struct buffer *b) { return b->context; }
static void memory_set(struct buffer *b, struct tensor *t, const void *data, size_t offset, size_t size)
{
    (void) b;
    memcpy((char *) t->data + offset, data, size);
}
static void memory_get(struct buffer *b, const struct tensor *t, void *data, size_t offset, size_t size)
{
    (void) b;
    memcpy(data, (const char *) t->data + offset, size);
}
static void memory_clear(struct buffer *b, uint8_t value) { memset(b->context, value, b->size); }

static struct buffer *memory_alloc(struct buft *buft, size_t size)
{
    struct buffer_i iface = {.free_buffer = memory_free, .get_base = memory_base, .set_tensor = memory_set,
                             .get_tensor = memory_get, .clear = memory_clear};
    void *memory = aligned_alloc(ALIGNMENT, pad(size ? size : 1));
    return memory ? ggml_backend_buffer_init(buft, iface, memory, size) : NULL;
}

static size_t buft_alignment(struct buft *b) { (void) b; return ALIGNMENT; }
static bool buft_is_host(struct buft *b) { return b == &host_buft; }
static const char *buft_name(struct buft *b) { return b == &host_buft ? "CUDA_Host" : (const char *) b->context; }

/* As CUDA: quantized rows are padded; attention keeps a half-precision copy of a quantized cache. */
static size_t buft_alloc_size(struct buft *b, const struct tensor *t)
{
    size_t size = ggml_nbytes(t);
    (void) b;
    if (strcmp(ggml_op_name(t->op), "FLASH_ATTN_EXT") == 0) {
        const struct tensor *k = t->src[1], *v = t->src[2];
        bool shared = v->view_src && (v->view_src == k || (v->view_src == k->view_src && v->view_offs == k->view_offs));
        if (k->type != TYPE_F16) size = pad(size) + (size_t) ggml_nelements(k) * 2;
        if (v->type != TYPE_F16 && !shared) size = pad(size) + (size_t) ggml_nelements(v) * 2;
    }
    if (ggml_is_quantized(t->type) && t->ne[0] % ROW_PADDING)
        size += ggml_row_size(t->type, ROW_PADDING - t->ne[0] % ROW_PADDING);
    return size;
}

static const char *device_name(struct device *d) { return ((struct gpu *) d->context)->name; }
static const char *device_description(struct device *d) { (void) d; return "a GPU that is not there"; }
static int device_type(struct device *d) { (void) d; return 1; }
static void device_memory(struct device *d, size_t *free_, size_t *total)
{
    *free_ = *total = ((struct gpu *) d->context)->memory;
}
static void device_props(struct device *d, struct props *p)
{
    struct props props = {.name = device_name(d), .description = device_description(d), .type = 1,
                          .async = true, .host_buffer = true, .events = true, .mmap = true};
    device_memory(d, &props.memory_free, &props.memory_total);
    *p = props;
}
static struct buft *device_buft(struct device *d) { return &((struct gpu *) d->context)->buft; }
static struct buft *device_host_buft(struct device *d) { (void) d; return &host_buft; }

static bool device_supports_buft(struct device *d, struct buft *b) { return b == device_buft(d); }
static bool device_supports_op(struct device *d, const struct tensor *op)
{
    for (int i = 0; i < 10; i++) {
        const struct tensor *src = op->src[i];
        if (!src || !src->buffer) continue;
        for (size_t g = 0; g < n_gpus; g++)
            if (src->buffer->buft == &gpus[g].buft && &gpus[g].device != d) return false;
    }
    return true;
}
static bool device_offload_op(struct device *d, const struct tensor *op)
{
    const char *name = ggml_op_name(op->op);
    (void) d;
    if (strcmp(name, "GET_ROWS") == 0) return false;
    if (strcmp(name, "MUL_MAT") == 0) return op->ne[1] >= OFFLOAD_BATCH;
    if (strcmp(name, "MUL_MAT_ID") == 0 || strncmp(name, "ROPE", 4) == 0) return op->ne[2] >= OFFLOAD_BATCH;
    return ggml_nrows(op) >= OFFLOAD_BATCH;
}

static void *event_new(struct device *d)
{
    struct event *e = malloc(sizeof *e);
    if (e) *e = (struct event){d, NULL};
    return e;
}
static void event_free(struct device *d, void *e) { (void) d; free(e); }
static void event_synchronize(struct device *d, void *e) { (void) d; (void) e; }

static const char *backend_name(struct backend *b) { return device_name(b->device); }
static void backend_free(struct backend *b) { free(b); }
static void backend_synchronize(struct backend *b) { (void) b; }
static int backend_compute(struct backend *b, void *graph) { (void) b; (void) graph; return -1; }
static void backend_event(struct backend *b, void *e) { (void) b; (void) e; }
static struct backend *device_init(struct device *d, const char *params)
{
    static char guid[16] = "fake gpu";
    struct backend *b = calloc(1, sizeof *b);
    (void) params;
    if (!b) return NULL;
    b->guid = guid;
    b->get_name = backend_name;
    b->free = backend_free;
    b->synchronize = backend_synchronize;
    b->graph_compute = backend_compute;
    b->event_record = b->event_wait = backend_event;
    b->device = d;
    return b;
}

static const char *reg_name(struct reg *r) { (void) r; return "CUDA"; }
static size_t reg_count(struct reg *r) { (void) r; return n_gpus; }
static struct device *reg_device(struct reg *r, size_t i) { (void) r; return &gpus[i].device; }

struct reg *ggml_backend_init(void)
{
    const char *at = getenv("FAKE_GPUS");
    reg = (struct reg){.api_version = ggml_backend_reg_get(0)->api_version, .get_name = reg_name,
                       .get_device_count = reg_count, .get_device = reg_device};
    for (n_gpus = 0; at && *at && n_gpus < MAX_GPUS; n_gpus++) {
        struct gpu *g = &gpus[n_gpus];
        char *end;
        g->memory = (size_t) strtoull(at, &end, 10);
        at = *end == ',' ? end + 1 : NULL;
        snprintf(g->name, sizeof g->name, "CUDA%u", (unsigned) n_gpus);
        g->buft = (struct buft){.get_name = buft_name, .alloc_buffer = memory_alloc, .get_alignment = buft_alignment,
                                .get_alloc_size = buft_alloc_size, .is_host = buft_is_host, .device = &g->device,
                                .context = g->name};
        g->device = (struct device){
            .get_name = device_name, .get_description = device_description, .get_memory = device_memory,
            .get_type = device_type, .get_props = device_props, .init_backend = device_init,
            .get_buffer_type = device_buft, .get_host_buffer_type = device_host_buft,
            .supports_op = device_supports_op, .supports_buft = device_supports_buft,
            .offload_op = device_offload_op, .event_new = event_new, .event_free = event_free,
            .event_synchronize = event_synchronize, .reg = &reg, .context = g};
    }
    host_buft = (struct buft){.get_name = buft_name, .alloc_buffer = memory_alloc, .get_alignment = buft_alignment,
                              .is_host = buft_is_host, .device = n_gpus ? &gpus[0].device : NULL};
    return &reg;
}
