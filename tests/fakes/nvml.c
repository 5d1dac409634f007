/* A make-believe libnvidia-ml.so.1: answers as the file named by FAKE_NVML says, so that the real pynvml
 * is what a test runs. One word, then its value, on a line; `gpu` begins a card, `instance` a MIG
 * instance of it, `fail FUNCTION CODE` makes a call on what was begun last answer with an error (before
 * the first card: a call on the whole driver; `*` = every call). tests/fakes/nvml.py writes the file.
 * It is read again at every nvmlInit, so a test may change the machine. Not thread-safe. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GPUS 16
#define MAX_LIST 8
#define TEXT 96
#define NOT_AVAILABLE 0xffffffffffffffffULL

/* The codes of nvml.h that this library gives by itself. */
enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7 };

typedef struct { char call[TEXT]; int code; } fault;
typedef struct { unsigned pid, graphics; unsigned long long vram; } process;

typedef struct device {
    char name[TEXT], uuid[TEXT], bus[32];
    unsigned long long total, reserved, used;
    unsigned clock, width, generation, lanes, mig, slices, n_faults, n_processes, n_instances;
    int major, minor;
    fault faults[MAX_LIST];
    process processes[MAX_LIST];
    struct device *parent, *instances[MAX_LIST];
} device;

static device whole; /* faults of the driver itself */
static device *gpus[MAX_GPUS];
static unsigned n_gpus, initialized;
static char driver[TEXT];

/* The structures of nvml.h, as ABI 13 lays them out. */
typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct {
    char legacy[16];
    unsigned domain, bus, device, device_id, subsystem;
    char id[32];
} pci_info;
typedef struct { unsigned pid; unsigned long long vram; unsigned gpu_instance, compute_instance; } process_v3;
typedef struct {
    unsigned sms, copy, decoder, encoder, jpeg, ofa, gpu_slices, compute_slices;
    unsigned long long memory_mb;
} attributes;
typedef struct { unsigned gpu, memory; } utilization;

static int faulty(const device *d, const char *call)
{
    if (!initialized) return UNINITIALIZED;
    if (!d) return INVALID_ARGUMENT;
    for (unsigned i = 0; i < d->n_faults; i++)
        if (!strcmp(d->faults[i].call, "*") || !strcmp(d->faults[i].call, call)) return d->faults[i].code;
    return OK;
}

#define ENTER(d)                                                                                             \
    do {                                                                                                     \
        int fault_code = faulty((d), __func__);                                                              \
        if (fault_code) return fault_code;                                                                   \
    } while (0)

static int copy_text(char *to, unsigned size, const char *from)
{
    if (strlen(from) >= size) return TOO_SMALL;
    memcpy(to, from, strlen(from) + 1);
    return OK;
}

static void keep(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

static void read_fault(device *d, const char *value)
{
    fault f = {"", 0};
    if (d->n_faults < MAX_LIST && sscanf(value, "%95s %d", f.call, &f.code) == 2) d->faults[d->n_faults++] = f;
}

static void read_process(device *d, const char *value)
{
    process p = {0, 0, NOT_AVAILABLE};
    char kind[TEXT] = "";
    if (d->n_processes >= MAX_LIST || sscanf(value, "%u %95s %llu", &p.pid, kind, &p.vram) < 2) return;
    p.graphics = !strcmp(kind, "graphics");
    d->processes[d->n_processes++] = p;
}

static device *begin(device *parent)
{
    device *d = calloc(1, sizeof *d);
    if (!d) abort();
    d->parent = parent;
    if (parent && parent->n_instances < MAX_LIST) parent->instances[parent->n_instances++] = d;
    if (!parent && n_gpus < MAX_GPUS) gpus[n_gpus++] = d;
    return d;
}

static void read_line(device **at, const char *key, const char *value)
{
    device *d = *at;
    if (!strcmp(key, "driver")) keep(driver, sizeof driver, value);
    else if (!strcmp(key, "gpu")) *at = begin(NULL);
    else if (!strcmp(key, "instance") && n_gpus) *at = begin(gpus[n_gpus - 1]);
    else if (!strcmp(key, "name")) keep(d->name, sizeof d->name, value);
    else if (!strcmp(key, "uuid")) keep(d->uuid, sizeof d->uuid, value);
    else if (!strcmp(key, "bus")) keep(d->bus, sizeof d->bus, value);
    else if (!strcmp(key, "memory")) sscanf(value, "%llu %llu %llu", &d->total, &d->reserved, &d->used);
    else if (!strcmp(key, "clock")) sscanf(value, "%u %u", &d->clock, &d->width);
    else if (!strcmp(key, "pcie")) sscanf(value, "%u %u", &d->generation, &d->lanes);
    else if (!strcmp(key, "capability")) sscanf(value, "%d %d", &d->major, &d->minor);
    else if (!strcmp(key, "mig")) d->mig = 1;
    else if (!strcmp(key, "slices")) sscanf(value, "%u", &d->slices);
    else if (!strcmp(key, "process")) read_process(d, value);
    else if (!strcmp(key, "fail")) read_fault(d, value);
}

static void forget(void)
{
    for (unsigned i = 0; i < n_gpus; i++) {
        for (unsigned j = 0; j < gpus[i]->n_instances; j++) free(gpus[i]->instances[j]);
        free(gpus[i]);
    }
    n_gpus = 0;
    memset(&whole, 0, sizeof whole);
}

int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    forget();
    keep(driver, sizeof driver, "570.86.15");
    device *at = &whole;
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512], key[TEXT];
    while (file && fgets(line, sizeof line, file)) {
        int used = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%95s %n", key, &used) == 1) read_line(&at, key, line + used);
    }
    if (file) fclose(file);
    initialized = 1;
    int code = faulty(&whole, "nvmlInit");
    if (code) initialized = 0;
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void)
{
    if (!initialized) return UNINITIALIZED;
    initialized = 0;
    return OK;
}

const char *nvmlErrorString(int code)
{
    switch (code) {
    case 0: return "The operation was successful";
    case 1: return "NVML was not first initialized with nvmlInit()";
    case 2: return "A supplied argument is invalid";
    case 3: return "The requested operation is not available on target device";
    case 4: return "The current user does not have permission for operation";
    case 6: return "A query to find an object was unsuccessful";
    case 7: return "An input argument is not large enough";
    case 9: return "NVIDIA driver is not loaded";
    case 15: return "The GPU is inaccessible due to it being lost";
    case 18: return "RM detects a driver/library version mismatch";
    default: return "An internal driver error occurred";
    }
}

int nvmlSystemGetDriverVersion(char *text, unsigned size)
{
    ENTER(&whole);
    return copy_text(text, size, driver);
}

int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    ENTER(&whole);
    *version = 12080;
    return OK;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    ENTER(&whole);
    *count = n_gpus;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **out)
{
    ENTER(&whole);
    if (index >= n_gpus) return INVALID_ARGUMENT;
    ENTER(gpus[index]);
    *out = gpus[index];
    return OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device **out)
{
    ENTER(&whole);
    *out = NULL;
    for (unsigned i = 0; i < n_gpus; i++) {
        device *d = gpus[i];
        for (unsigned j = 0; j < d->n_instances; j++)
            if (!strcmp(d->instances[j]->uuid, uuid)) *out = d->instances[j];
        if (!strcmp(d->uuid, uuid)) *out = d;
    }
    if (!*out) return NOT_FOUND;
    ENTER(*out);
    return OK;
}

int nvmlDeviceGetName(const device *d, char *text, unsigned size)
{
    ENTER(d);
    return copy_text(text, size, d->name);
}

int nvmlDeviceGetUUID(const device *d, char *text, unsigned size)
{
    ENTER(d);
    return copy_text(text, size, d->uuid);
}

int nvmlDeviceGetMemoryInfo(const device *d, memory_v1 *out)
{
    ENTER(d);
    unsigned long long used = d->reserved + d->used; /* the old call hides the reserved part in here */
    *out = (memory_v1){d->total, d->total - used, used};
    return OK;
}

#ifndef OLD_DRIVER /* drivers before 510 export no such symbol */
int nvmlDeviceGetMemoryInfo_v2(const device *d, memory_v2 *out)
{
    ENTER(d);
    if (out->version != (2u << 24 | sizeof *out)) return 25;
    out->total = d->total;
    out->reserved = d->reserved;
    out->used = d->used;
    out->free = d->total - d->reserved - d->used;
    return OK;
}
#endif

int nvmlDeviceGetPciInfo_v3(const device *d, pci_info *out)
{
    ENTER(d);
    memset(out, 0, sizeof *out);
    keep(out->id, sizeof out->id, d->bus);
    return OK;
}

int nvmlDeviceGetMaxClockInfo(const device *d, unsigned kind, unsigned *mhz)
{
    ENTER(d);
    if (d->parent || kind != 2 || !d->clock) return NOT_SUPPORTED;
    *mhz = d->clock;
    return OK;
}

int nvmlDeviceGetMemoryBusWidth(const device *d, unsigned *bits)
{
    ENTER(d);
    if (d->parent || !d->width) return NOT_SUPPORTED;
    *bits = d->width;
    return OK;
}

int nvmlDeviceGetMaxPcieLinkGeneration(const device *d, unsigned *out)
{
    ENTER(d);
    if (d->parent || !d->generation) return NOT_SUPPORTED;
    *out = d->generation;
    return OK;
}

int nvmlDeviceGetCurrPcieLinkGeneration(const device *d, unsigned *out)
{
    ENTER(d);
    if (d->parent || !d->generation) return NOT_SUPPORTED;
    *out = 1; /* an idle card slows its link down */
    return OK;
}

int nvmlDeviceGetMaxPcieLinkWidth(const device *d, unsigned *out)
{
    ENTER(d);
    if (d->parent || !d->lanes) return NOT_SUPPORTED;
    *out = 16;
    return OK;
}

int nvmlDeviceGetCurrPcieLinkWidth(const device *d, unsigned *out)
{
    ENTER(d);
    if (d->parent || !d->lanes) return NOT_SUPPORTED;
    *out = d->lanes;
    return OK;
}

int nvmlDeviceGetCudaComputeCapability(const device *d, int *major, int *minor)
{
    ENTER(d);
    *major = d->major;
    *minor = d->minor;
    return OK;
}

int nvmlDeviceGetUtilizationRates(const device *d, utilization *out)
{
    ENTER(d);
    *out = (utilization){0, 0};
    return OK;
}

int nvmlDeviceGetMigMode(const device *d, unsigned *now, unsigned *pending)
{
    ENTER(d);
    if (d->major < 8) return NOT_SUPPORTED;
    *now = *pending = d->mig;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(const device *d, unsigned *count)
{
    ENTER(d);
    *count = d->mig ? 7 : 0;
    return OK;
}

int nvmlDeviceGetMigDeviceHandleByIndex(const device *d, unsigned index, device **out)
{
    ENTER(d);
    if (index >= d->n_instances) return NOT_FOUND;
    *out = d->instances[index];
    return OK;
}

int nvmlDeviceGetAttributes_v2(const device *d, attributes *out)
{
    ENTER(d);
    if (!d->parent) return NOT_SUPPORTED;
    memset(out, 0, sizeof *out);
    out->gpu_slices = out->compute_slices = d->slices;
    out->memory_mb = d->total >> 20;
    return OK;
}

static int running(const device *d, unsigned graphics, unsigned *count, process_v3 *out)
{
    unsigned n = 0;
    for (unsigned i = 0; i < d->n_processes; i++) n += d->processes[i].graphics == graphics;
    unsigned room = *count;
    *count = n;
    if (n > room) return TOO_SMALL;
    for (unsigned i = 0, j = 0; i < d->n_processes; i++) {
        const process *p = &d->processes[i];
        if (p->graphics == graphics) out[j++] = (process_v3){p->pid, p->vram, ~0u, ~0u};
    }
    return OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(const device *d, unsigned *count, process_v3 *out)
{
    ENTER(d);
    return running(d, 0, count, out);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(const device *d, unsigned *count, process_v3 *out)
{
    ENTER(d);
    return running(d, 1, count, out);
}
