#include "check.h"
#include "lr_nfc.h"

#include <stdlib.h>
#include <string.h>

static const char *const TIERS[] = {"avx512", "avx2", "neon", "scalar"};

static size_t spans(const char *text, size_t size, size_t *places, size_t room, const char *tier) {
    uint8_t *exact = malloc(size + !size); /* so that a read beyond the text is seen */
    memcpy(exact, text, size);
    size_t at = 0, count = 0;
    while (at < size) count += lr_nfc_spans(exact, size, &at, places + 2 * count, room, tier);
    free(exact);
    return count;
}

static void test_spans(void) {
    static const struct { const char *text; size_t count, from, to; } cases[] = {
        {"", 0, 0, 0}, {"abc", 0, 0, 0}, {"abe\xCC\x81z", 1, 2, 5}, {"\xCC\x81", 0, 0, 0},
        {"q\xCC\x81", 0, 0, 0},                                 /* nothing is composed of these */
        {"q\xCC\x81\xCC\xA3z", 1, 0, 5},                        /* out of order */
        {"\xC3\xA9\xCC\xA3", 1, 0, 4},                          /* comes between a letter and its accent */
        {"\xE0\xAE\x95\xE0\xAE\xBE", 0, 0, 0},                  /* Tamil ka, aa */
        {"\xE0\xAF\x86\xE0\xAE\xBE", 1, 0, 6},                  /* Tamil e and aa are one o */
        {"\xEA\xB0\x80\xE1\x86\xA8", 1, 0, 6}, {"x\xE2\x84\xAB", 1, 0, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t t = 0; t < 4; t++) {
            size_t places[8] = {0};
            CHECK(spans(cases[i].text, strlen(cases[i].text), places, 1, TIERS[t]) == cases[i].count);
            CHECK(places[0] == cases[i].from && places[1] == cases[i].to);
        }
    }
}

static const char *const ATOMS[] = {
    "a", "x", "\n", "e\xCC\x81", "\xC3\xA9", "\xCC\x81", "\xCC\xA3", "\xD0\xB6", "\xE4\xB8\xAD", "\xE0\xA4\xA8", "\xE0\xA4\xBC",
    "\xE0\xA7\x9F", "\xE0\xA6\xBE", "\xEA\xB0\x80", "\xE1\x86\xA8", "\xF0\x9F\x98\x80", "\xF0\x91\x82\xBA", "\xF0\xAF\xA0\x80",
    "sixteen letters.", "thirty-two letters in one piece.", "\xEF\xBF\xBD", "\xE3\x82\x99", "\xCD\xB8"};

/* Wherever windows end, and however little room there is. */
static void test_tiers_agree(void) {
    unsigned long long seed = 88172645463325252ull;
    for (int round = 0; round < 4000; round++) {
        char text[2048];
        size_t size = 0, expected[2 * 256], found[2 * 256];
        for (int i = 0; i < 40 && size < 1900; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            const char *atom = ATOMS[seed % (seed >> 20 & 1 ? 3 : sizeof ATOMS / sizeof *ATOMS)];
            memcpy(text + size, atom, strlen(atom));
            size += strlen(atom);
        }
        const size_t count = spans(text, size, expected, 256, "scalar");
        for (size_t t = 0; t < 4; t++)
            CHECK(spans(text, size, found, 256, TIERS[t]) == count && !memcmp(found, expected, 2 * count * sizeof *found));
        for (size_t i = 1; i < count; i++) CHECK(expected[2 * i] >= expected[2 * i - 1] + 64);
    }
}

int main(void) {
    test_spans();
    test_tiers_agree();
    return lr_report("nfc");
}
