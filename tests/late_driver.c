// A layer between PyCUDA and libcuda, preloaded before both. It
//
// - runs what is enqueued on a stream as late as CUDA allows: when somebody waits for it.
//   Memory that is read or written too early is then sure to have the wrong content;
// - counts what is held, so that a test sees what was not freed;
// - fails every call once it is told to, as a context does after an error of the device;
// - makes memory short, shows one GPU as several, and none where LATE_DRIVER_INIT says why.
//
// Everything else, and in the end these calls too, goes to the libcuda that is there: a GPU's,
// or one that only copies memory, such as cpu_driver.c.
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef int Result;
typedef unsigned long long Device_pointer;

enum { MOST = 4096, OUT_OF_MEMORY = 2, UNKNOWN = 999 };
enum kind { COPY_IN, COPY_OUT, CALL, RECORD };
enum held { DEVICE_MEMORY, PINNED_MEMORY, STREAMS, EVENTS, CONTEXTS, KINDS };

struct operation {
    enum kind kind;
    void *stream, *host, *event;
    Device_pointer device;
    size_t bytes;
    void (*call)(void);
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct operation waiting[MOST];
static struct { Device_pointer start; size_t bytes; } lent[MOST];
static int waiting_count, held[KINDS], failure, devices = 1, last_device;
static size_t bytes_lent, most_bytes = SIZE_MAX;

static void *real(const char *name) {
    static void *driver;
    if (!driver) driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    return driver ? dlsym(driver, name) : NULL;
}
#define REAL(name, ...) ((Result(*)(__VA_ARGS__))real(#name))

static void count(enum held kind, int change) {
    pthread_mutex_lock(&lock);
    held[kind] += change;
    pthread_mutex_unlock(&lock);
}

// Note a change of the device's memory: bytes from no start to one, or back.
static void lend(Device_pointer from, Device_pointer to, size_t bytes) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MOST; i++) {
        if (lent[i].start != from) continue;
        bytes_lent += bytes - lent[i].bytes;
        lent[i].start = to;
        lent[i].bytes = bytes;
        break;
    }
    pthread_mutex_unlock(&lock);
}

static Result enqueue(struct operation operation) {
    if (failure) return failure;
    pthread_mutex_lock(&lock);
    int fits = waiting_count < MOST;
    if (fits) waiting[waiting_count++] = operation;
    pthread_mutex_unlock(&lock);
    return fits ? 0 : UNKNOWN;
}

// Take the first operation of a stream, or of any, off the queue.
static int take(void *stream, int any, struct operation *taken) {
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < waiting_count && !found; i++) {
        if (!any && waiting[i].stream != stream) continue;
        found = 1;
        *taken = waiting[i];
        for (int j = i + 1; j < waiting_count; j++) waiting[j - 1] = waiting[j];
        waiting_count--;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static Result run(struct operation o) {
    switch (o.kind) {
    case COPY_IN:
        return REAL(cuMemcpyHtoDAsync_v2, Device_pointer, const void *, size_t, void *)(
            o.device, o.host, o.bytes, o.stream);
    case COPY_OUT:
        return REAL(cuMemcpyDtoHAsync_v2, void *, Device_pointer, size_t, void *)(
            o.host, o.device, o.bytes, o.stream);
    case RECORD:
        return REAL(cuEventRecord, void *, void *)(o.event, o.stream);
    case CALL:
        o.call();
    }
    return 0;
}

// Run a stream, or all, up to where an event is recorded; without one, to the end.
static Result flush(void *stream, int any, void *event) {
    struct operation operation;
    while (take(stream, any, &operation)) {
        Result result = run(operation);
        if (result) return result;
        if (event && operation.event == event) break;
    }
    return failure;
}

static Result flush_event(void *event) {
    void *stream = NULL;
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < waiting_count; i++) {
        if (waiting[i].kind != RECORD || waiting[i].event != event) continue;
        stream = waiting[i].stream;
        found = 1;
    }
    pthread_mutex_unlock(&lock);
    return found ? flush(stream, 0, event) : failure;
}

// What tests call.

int late_held(int kind) { return held[kind]; }
int late_waiting(void) { return waiting_count; }
int late_device(void) { return last_device; }
void late_fail(int result) { failure = result; }
void late_show_devices(int number) { devices = number; }
void late_limit_memory(size_t bytes) { most_bytes = bytes; }
int late_enqueue(void *stream, void (*call)(void)) {
    return enqueue((struct operation){.kind = CALL, .stream = stream, .call = call});
}

// What PyCUDA calls.

Result cuInit(unsigned flags) {
    const char *result = getenv("LATE_DRIVER_INIT");
    return result ? atoi(result) : REAL(cuInit, unsigned)(flags);
}
Result cuDeviceGetCount(int *number) {
    Result result = REAL(cuDeviceGetCount, int *)(number);
    if (!result && *number == 1) *number = devices;
    return result;
}
Result cuDeviceGet(int *device, int ordinal) {
    last_device = ordinal;
    return REAL(cuDeviceGet, int *, int)(device, ordinal < devices ? 0 : ordinal);
}
Result cuDevicePrimaryCtxRetain(void **context, int device) {
    Result result = REAL(cuDevicePrimaryCtxRetain, void **, int)(context, device);
    if (!result) count(CONTEXTS, 1);
    return result;
}
Result cuDevicePrimaryCtxRelease_v2(int device) {
    void *left;
    count(CONTEXTS, -1);
    Result result = REAL(cuDevicePrimaryCtxRelease_v2, int)(device);
    // PyCUDA makes the context current for this and leaves it; a thread of tests has many.
    REAL(cuCtxPopCurrent_v2, void **)(&left);
    return result;
}
Result cuMemAlloc_v2(Device_pointer *start, size_t bytes) {
    if (failure) return failure;
    if (bytes_lent + bytes > most_bytes) return OUT_OF_MEMORY;
    Result result = REAL(cuMemAlloc_v2, Device_pointer *, size_t)(start, bytes);
    if (result) return result;
    count(DEVICE_MEMORY, 1);
    lend(0, *start, bytes);
    return 0;
}
Result cuMemFree_v2(Device_pointer start) {
    flush(NULL, 1, NULL);
    count(DEVICE_MEMORY, -1);
    lend(start, 0, 0);
    return REAL(cuMemFree_v2, Device_pointer)(start);
}
Result cuMemHostAlloc(void **start, size_t bytes, unsigned flags) {
    if (failure) return failure;
    Result result = REAL(cuMemHostAlloc, void **, size_t, unsigned)(start, bytes, flags);
    if (!result) count(PINNED_MEMORY, 1);
    return result;
}
Result cuMemFreeHost(void *start) {
    flush(NULL, 1, NULL);
    count(PINNED_MEMORY, -1);
    return REAL(cuMemFreeHost, void *)(start);
}
Result cuMemcpyHtoDAsync_v2(Device_pointer to, const void *from, size_t bytes, void *stream) {
    return enqueue((struct operation){
        .kind = COPY_IN, .stream = stream, .host = (void *)from, .device = to, .bytes = bytes});
}
Result cuMemcpyDtoHAsync_v2(void *to, Device_pointer from, size_t bytes, void *stream) {
    return enqueue((struct operation){
        .kind = COPY_OUT, .stream = stream, .host = to, .device = from, .bytes = bytes});
}
Result cuStreamCreate(void **stream, unsigned flags) {
    if (failure) return failure;
    Result result = REAL(cuStreamCreate, void **, unsigned)(stream, flags);
    if (!result) count(STREAMS, 1);
    return result;
}
Result cuStreamDestroy_v2(void *stream) {
    flush(stream, 0, NULL);
    count(STREAMS, -1);
    return REAL(cuStreamDestroy_v2, void *)(stream);
}
Result cuStreamSynchronize(void *stream) {
    Result result = flush(stream, 0, NULL);
    return result ? result : REAL(cuStreamSynchronize, void *)(stream);
}
Result cuCtxSynchronize(void) {
    Result result = flush(NULL, 1, NULL);
    return result ? result : REAL(cuCtxSynchronize, void)();
}
Result cuEventCreate(void **event, unsigned flags) {
    if (failure) return failure;
    Result result = REAL(cuEventCreate, void **, unsigned)(event, flags);
    if (!result) count(EVENTS, 1);
    return result;
}
Result cuEventDestroy_v2(void *event) {
    count(EVENTS, -1);
    return REAL(cuEventDestroy_v2, void *)(event);
}
Result cuEventRecord(void *event, void *stream) {
    return enqueue((struct operation){.kind = RECORD, .stream = stream, .event = event});
}
Result cuEventSynchronize(void *event) {
    Result result = flush_event(event);
    return result ? result : REAL(cuEventSynchronize, void *)(event);
}
