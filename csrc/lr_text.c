#include "lr_text.h"

#include "lr_unicode.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const uint8_t *bytes;
    uint32_t *fall; /* the longest beginning that is also an end of the first i bytes */
    uint32_t size;
    uint32_t matched;
} stop;

struct lr_text {
    uint8_t *data;
    size_t size, room, ready;
    stop *stops;
    uint8_t *stop_bytes;
    uint32_t *falls;
    uint32_t n_stops;
    bool over;
    uint8_t part[4]; /* of a character */
    uint8_t part_size;
};

static void prepare(stop *s) {
    s->fall[0] = 0;
    for (uint32_t i = 1, k = 0; i < s->size; i++) {
        while (k > 0 && s->bytes[i] != s->bytes[k]) k = s->fall[k - 1];
        if (s->bytes[i] == s->bytes[k]) k++;
        s->fall[i] = k;
    }
}

static lr_status measure(const uint8_t *stops, const uint32_t *sizes, uint32_t n, size_t *bytes) {
    if (n > LR_TEXT_STOPS) return LR_E_LIMIT;
    if (n > 0 && (stops == NULL || sizes == NULL)) return LR_E_ARGUMENT;
    for (uint32_t i = 0; i < n; i++) {
        if (sizes[i] == 0) return LR_E_ARGUMENT;
        if (sizes[i] > LR_TEXT_STOP_BYTES - *bytes) return LR_E_LIMIT;
        if (lr_utf8_valid(stops + *bytes, sizes[i]) != sizes[i]) return LR_E_ARGUMENT;
        *bytes += sizes[i];
    }
    return LR_OK;
}

lr_status lr_text_new(const uint8_t *stops, const uint32_t *sizes, uint32_t n, lr_text **text) {
    size_t bytes = 0;
    if (text == NULL) return LR_E_ARGUMENT;
    const lr_status status = measure(stops, sizes, n, &bytes);
    if (status != LR_OK) return status;
    lr_text *t = calloc(1, sizeof *t);
    if (t == NULL) return LR_E_MEMORY;
    t->stops = calloc(n + 1, sizeof *t->stops);
    t->stop_bytes = malloc(bytes + 1);
    t->falls = malloc((bytes + 1) * sizeof *t->falls);
    if (t->stops == NULL || t->stop_bytes == NULL || t->falls == NULL) {
        lr_text_free(t);
        return LR_E_MEMORY;
    }
    if (bytes > 0) memcpy(t->stop_bytes, stops, bytes);
    t->n_stops = n;
    for (uint32_t i = 0, at = 0; i < n; at += sizes[i], i++) {
        t->stops[i] = (stop){.bytes = t->stop_bytes + at, .fall = t->falls + at, .size = sizes[i]};
        prepare(&t->stops[i]);
    }
    *text = t;
    return LR_OK;
}

void lr_text_free(lr_text *t) {
    if (t == NULL) return;
    free(t->data);
    free(t->stops);
    free(t->stop_bytes);
    free(t->falls);
    free(t);
}

/* Room for `n` bytes more. */
static bool grow(lr_text *t, size_t n) {
    if (n <= t->room - t->size) return true;
    if (n > SIZE_MAX / 4 || t->size > SIZE_MAX / 4) return false;
    const size_t room = (t->size + n) * 2 + 256;
    uint8_t *data = realloc(t->data, room);
    if (data == NULL) return false;
    t->data = data;
    t->room = room;
    return true;
}

/* The next byte of the text, against all stop strings at once: of two that end here the longer one counts. */
static bool put(lr_text *t, uint8_t byte) {
    t->data[t->size++] = byte;
    uint32_t longest = 0;
    for (stop *s = t->stops; s < t->stops + t->n_stops; s++) {
        while (s->matched > 0 && s->bytes[s->matched] != byte) s->matched = s->fall[s->matched - 1];
        if (s->bytes[s->matched] == byte) s->matched++;
        if (s->matched == s->size && s->size > longest) longest = s->size;
    }
    t->size -= longest;
    t->over = longest > 0;
    return !t->over;
}

static bool put_all(lr_text *t, const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!put(t, bytes[i])) return false;
    return true;
}

static bool put_replacement(lr_text *t) {
    static const uint8_t replacement[3] = {0xEF, 0xBF, 0xBD};
    t->part_size = 0;
    return put_all(t, replacement, 3);
}

/* How long a character is that begins so; 0: none does. */
static uint8_t length_of(uint8_t lead) {
    if (lead < 0x80) return 1;
    if (lead >= 0xC2 && lead <= 0xDF) return 2;
    if (lead >= 0xE0 && lead <= 0xEF) return 3;
    return lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
}

/* Whether `byte` can go on a character of which `part` is there: the second byte has its own bounds. */
static bool goes_on(const uint8_t *part, uint8_t size, uint8_t byte) {
    uint8_t low = 0x80, high = 0xBF;
    if (size == 1) {
        if (part[0] == 0xE0) low = 0xA0;
        if (part[0] == 0xED) high = 0x9F;
        if (part[0] == 0xF0) low = 0x90;
        if (part[0] == 0xF4) high = 0x8F;
    }
    return byte >= low && byte <= high;
}

static bool take_byte(lr_text *t, uint8_t byte) {
    if (t->part_size > 0 && !goes_on(t->part, t->part_size, byte) && !put_replacement(t)) return false;
    if (t->part_size == 0 && length_of(byte) <= 1) return length_of(byte) == 1 ? put(t, byte) : put_replacement(t);
    t->part[t->part_size++] = byte;
    if (t->part_size < length_of(t->part[0])) return true;
    const uint8_t size = t->part_size;
    t->part_size = 0;
    return put_all(t, t->part, size);
}

/* All may be read but the longest beginning of a stop string. */
static lr_status settle(lr_text *t, bool hold) {
    uint32_t held = 0;
    for (uint32_t i = 0; i < t->n_stops && hold && !t->over; i++)
        if (t->stops[i].matched > held) held = t->stops[i].matched;
    t->ready = t->size - held;
    return t->over ? LR_END : LR_OK;
}

lr_status lr_text_feed(lr_text *t, const uint8_t *bytes, size_t n) {
    if (t == NULL || (n > 0 && bytes == NULL)) return LR_E_ARGUMENT;
    if (t->over) return LR_END;
    if (n > SIZE_MAX / 8 || !grow(t, 3 * n + 4)) return LR_E_MEMORY;
    for (size_t i = 0; i < n; i++)
        if (!take_byte(t, bytes[i])) break;
    return settle(t, true);
}

lr_status lr_text_finish(lr_text *t) {
    if (t == NULL) return LR_E_ARGUMENT;
    if (!t->over && t->part_size > 0) {
        if (!grow(t, 3)) return LR_E_MEMORY;
        put_replacement(t);
    }
    const lr_status status = settle(t, false);
    t->over = true;
    return status;
}

size_t lr_text_ready(const lr_text *t) {
    return t == NULL ? 0 : t->ready;
}

size_t lr_text_take(lr_text *t, uint8_t *out, size_t room) {
    if (t == NULL || out == NULL) return 0;
    const size_t n = t->ready < room ? t->ready : room;
    if (n == 0) return 0;
    memcpy(out, t->data, n);
    memmove(t->data, t->data + n, t->size - n);
    t->size -= n;
    t->ready -= n;
    return n;
}
