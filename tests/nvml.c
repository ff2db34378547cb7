/* NVIDIA's management library as far as the daemon asks it, for machines without a GPU. */
#include <stddef.h>

typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned int gpu, memory; } utilisation;

static int devices[2] = {0, 1};

int nvmlInitWithFlags(unsigned int flags) { return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }

int nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = 2;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    *device = &devices[index];
    return 0;
}

int nvmlDeviceGetMemoryInfo(void *device, memory *found) {
    int index = *(int *)device;
    found->total = 80000000000ull;
    found->used = 1000000000ull * (index + 1);
    found->free = found->total - found->used;
    return 0;
}

#ifndef LOST
#define LOST 0
#endif

int nvmlDeviceGetUtilizationRates(void *device, utilisation *found) {
    found->gpu = *(int *)device ? 25 : 100;
    found->memory = 0;
    return LOST; /* 15: the GPU has fallen off the bus */
}
