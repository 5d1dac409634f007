#include "check.h"
#include "lr_sample.h"
#include "lr_text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static lr_text *with(const char *const *stops, uint32_t n) {
    uint8_t bytes[256];
    uint32_t sizes[8], at = 0;
    for (uint32_t i = 0; i < n; i++) {
        sizes[i] = (uint32_t)strlen(stops[i]);
        memcpy(bytes + at, stops[i], sizes[i]);
        at += sizes[i];
    }
    lr_text *t = NULL;
    CHECK(lr_text_new(bytes, sizes, n, &t) == LR_OK);
    if (t == NULL) abort();
    return t;
}

/* What may be read now, as a string. */
static const char *taken(lr_text *t) {
    static char out[4096];
    out[lr_text_take(t, (uint8_t *)out, sizeof out - 1)] = 0;
    return out;
}

static lr_status feed(lr_text *t, const char *s) {
    return lr_text_feed(t, (const uint8_t *)s, strlen(s));
}

#define TAKES(t, s) CHECK(strcmp(taken(t), s) == 0)

static void test_characters(void) {
    lr_text *t = with(NULL, 0);
    CHECK(feed(t, "a\xC3") == LR_OK);
    TAKES(t, "a");
    CHECK(feed(t, "\xA9\xE2\x82") == LR_OK);
    TAKES(t, "\xC3\xA9");
    CHECK(feed(t, "x") == LR_OK);
    TAKES(t, "\xEF\xBF\xBDx"); /* one for the two bytes that could have begun a character */
    CHECK(feed(t, "\xFF\xC0\xED\xA0\x80\xF0\x9F\x98") == LR_OK);
    TAKES(t, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
    CHECK(feed(t, "\x80") == LR_OK);
    TAKES(t, "\xF0\x9F\x98\x80");
    CHECK(feed(t, "\xF4\x90") == LR_OK);
    TAKES(t, "\xEF\xBF\xBD\xEF\xBF\xBD");
    CHECK(feed(t, "z\xF1") == LR_OK && lr_text_finish(t) == LR_OK);
    TAKES(t, "z\xEF\xBF\xBD");
    CHECK(lr_text_feed(t, (const uint8_t *)"\0x", 2) == LR_END);
    lr_text_free(t);
    lr_text_free(NULL);
}

static void test_stops(void) {
    static const char *const two[] = {"</s>", "\n\nUser"};
    lr_text *t = with(two, 2);
    CHECK(feed(t, "Hi <") == LR_OK);
    TAKES(t, "Hi "); /* only what could still be a stop string waits */
    CHECK(feed(t, "/b>") == LR_OK);
    TAKES(t, "</b>");
    CHECK(feed(t, "\n") == LR_OK && feed(t, "\n") == LR_OK && feed(t, "\nUs") == LR_OK);
    TAKES(t, "\n");
    CHECK(feed(t, "er: ") == LR_END && feed(t, "more") == LR_END);
    TAKES(t, "");
    CHECK(lr_text_finish(t) == LR_END);
    lr_text_free(t);

    static const char *const inner[] = {"bc", "abcd"};
    t = with(inner, 2);
    CHECK(feed(t, "xabcd") == LR_END); /* the one that is complete first */
    TAKES(t, "xa");
    lr_text_free(t);

    static const char *const same[] = {"c", "abc"};
    t = with(same, 2);
    CHECK(feed(t, "xabc") == LR_END); /* of those that end here the longest */
    TAKES(t, "x");
    lr_text_free(t);

    static const char *const begun[] = {"aab"};
    t = with(begun, 1);
    CHECK(feed(t, "aaaa") == LR_OK);
    TAKES(t, "aa");
    CHECK(lr_text_finish(t) == LR_OK);
    TAKES(t, "aa");
    lr_text_free(t);

    static const char *const wide[] = {"\xE2\x82\xAC!"};
    t = with(wide, 1);
    CHECK(feed(t, "1\xE2\x82") == LR_OK && feed(t, "\xAC") == LR_OK);
    TAKES(t, "1");
    CHECK(feed(t, "!") == LR_END);
    TAKES(t, "");
    lr_text_free(t);
}

/* Any cut into tokens gives what the whole text up to the first stop string gives. */
static void test_any_cut(void) {
    static const char *const stops[] = {"aba", "bbab", "\xC3\xA9"};
    uint64_t chance = 3;
    for (int round = 0; round < 3000; round++) {
        uint8_t text[80], out[400];
        const size_t n = 1 + lr_sample_chance(&chance) % 60;
        for (size_t i = 0; i < n; i++) {
            static const char *const alphabet[] = {"a", "b", "\xC3\xA9", "c"};
            text[i] = (uint8_t)alphabet[lr_sample_chance(&chance) % (round % 2 ? 2 : 4)][0];
        }
        for (size_t i = 0; i + 1 < n; i++)
            if (text[i] == 0xC3) text[i + 1] = 0xA9;
        if (text[n - 1] == 0xC3) text[n - 1] = 'c';
        size_t end = n, got = 0;
        bool stopped = false;
        for (size_t i = 0; i < n && !stopped; i++)
            for (int k = 0; k < 3; k++) {
                const size_t size = strlen(stops[k]);
                if (i + 1 < size || memcmp(text + i + 1 - size, stops[k], size) != 0) continue;
                stopped = true;
                end = i + 1 - size < end ? i + 1 - size : end;
            }
        lr_text *t = with(stops, 3);
        lr_status status = LR_OK;
        for (size_t at = 0; at < n;) {
            size_t part = 1 + lr_sample_chance(&chance) % 5;
            part = part < n - at ? part : n - at;
            status = lr_text_feed(t, text + at, part);
            got += lr_text_take(t, out + got, 1 + lr_sample_chance(&chance) % 7);
            at += part;
        }
        CHECK((status == LR_END) == stopped);
        lr_text_finish(t);
        CHECK(lr_text_ready(t) <= sizeof out - got);
        got += lr_text_take(t, out + got, sizeof out - got);
        CHECK(got == end && memcmp(out, text, end) == 0);
        lr_text_free(t);
    }
}

static void test_refusals(void) {
    lr_text *t = NULL;
    const uint8_t bytes[] = {'a', 0xFF, 'b'};
    uint32_t sizes[LR_TEXT_STOPS + 1] = {0};
    CHECK(lr_text_new(bytes, sizes, 1, &t) == LR_E_ARGUMENT); /* empty */
    sizes[0] = 2;
    CHECK(lr_text_new(bytes, sizes, 1, &t) == LR_E_ARGUMENT); /* not UTF-8 */
    CHECK(lr_text_new(NULL, sizes, 1, &t) == LR_E_ARGUMENT && lr_text_new(bytes, sizes, 1, NULL) == LR_E_ARGUMENT);
    CHECK(lr_text_new(bytes, sizes, LR_TEXT_STOPS + 1, &t) == LR_E_LIMIT);
    sizes[0] = LR_TEXT_STOP_BYTES + 1;
    CHECK(lr_text_new(bytes, sizes, 1, &t) == LR_E_LIMIT);
    CHECK(t == NULL && lr_text_feed(NULL, bytes, 1) == LR_E_ARGUMENT && lr_text_finish(NULL) == LR_E_ARGUMENT);
}

int main(void) {
    test_characters();
    test_stops();
    test_any_cut();
    test_refusals();
    return lr_report("lr_text");
}
