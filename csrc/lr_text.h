/* lr_text: text that comes token by token: whole characters only, and nothing of a stop string.
 *
 * Owned: lr_text_new allocates and lr_text_free frees it. One thread at a time. What may be read is data[0 .. ready);
 * behind it stands what could still become a stop string. Each byte costs a step per stop string and no more
 * (Knuth, Morris and Pratt, 1977).
 */
#ifndef LR_TEXT_H
#define LR_TEXT_H

#include "lr_status.h"

#include <stddef.h>
#include <stdint.h>

enum { LR_TEXT_STOPS = 64, LR_TEXT_STOP_BYTES = 1 << 16 };

typedef struct lr_text lr_text;

/* `stops` lie one behind the other, `sizes` says how long each is; they are copied.
 * LR_E_ARGUMENT: null, or a stop string that is empty or not UTF-8. LR_E_LIMIT: more than LR_TEXT_STOPS, or
 * LR_TEXT_STOP_BYTES in all. LR_E_MEMORY. */
lr_status lr_text_new(const uint8_t *stops, const uint32_t *sizes, uint32_t n, lr_text **text);

/* Null is fine. */
void lr_text_free(lr_text *text);

/* Adds the bytes of a token. Bytes that are no UTF-8 become U+FFFD, one for each part that a character could have
 * begun with, as Python's errors="replace" has it; an unfinished character waits for the next token.
 * LR_END: a stop string is complete; the text ends in front of it, and takes nothing more. LR_E_MEMORY. */
lr_status lr_text_feed(lr_text *text, const uint8_t *bytes, size_t n);

/* The text is over: all that was held back may be read, an unfinished character as U+FFFD. LR_END, LR_E_MEMORY: as
 * lr_text_feed. */
lr_status lr_text_finish(lr_text *text);

/* How many bytes may be read. */
size_t lr_text_ready(const lr_text *text);

/* Moves up to `room` bytes that may be read to `out` and says how many; a character may be cut by a small room. */
size_t lr_text_take(lr_text *text, uint8_t *out, size_t room);

#endif
