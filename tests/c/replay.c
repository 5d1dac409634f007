/* main() for a fuzz target where there is no libFuzzer: every file named is fed to it, and with each file all its
 * prefixes, and copies with one bit turned over at a time. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

enum { MOST = 1 << 16 };

static uint8_t bytes[MOST];

static int feed(const char *path, long *runs) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "cannot open %s\n", path);
        return 1;
    }
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (size_t n = 0; n <= size; n++, ++*runs) LLVMFuzzerTestOneInput(bytes, n);
    for (size_t bit = 0; bit < size * 8; bit++, ++*runs) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        LLVMFuzzerTestOneInput(bytes, size);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    return 0;
}

int main(int argc, char **argv) {
    long runs = 0;
    for (int i = 1; i < argc; i++)
        if (feed(argv[i], &runs) != 0) return EXIT_FAILURE;
    printf("%-12s %d files, %ld runs\n", "replay", argc - 1, runs);
    return argc > 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
