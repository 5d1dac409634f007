/* lr_image: a finished vocabulary as one block of bytes, to be kept in a file and used where it lies.
 *
 * For this machine and this build: nothing in it is portable, and one that another build made is refused. Nothing in
 * it says where a part of it lies, either: that follows from its counts, so there are no offsets to go astray.
 * Byte-level BPE only; an SPM vocabulary is small.
 * Borrowed: a vocabulary that lr_image_open gives needs the image's bytes, unchanged, until it is freed.
 */
#ifndef LR_IMAGE_H
#define LR_IMAGE_H

#include "lr_vocab.h"

enum { LR_IMAGE_NOTES = 8, LR_IMAGE_ALIGN = 64 };

/* What an image was made of, by its maker's word. */
typedef struct lr_image_label {
    uint64_t seed[2];     /* random: who wants two texts with one sum must not know it */
    uint64_t sum[2];      /* lr_image_sum of the first `prefix` bytes of the file */
    uint64_t prefix;
    uint64_t file_size;   /* of the whole file */
    int32_t notes[LR_IMAGE_NOTES]; /* the caller's */
} lr_image_label;

/* 128 bits that depend on every byte. No two texts that were not made for it have the same: one in 2^64. Some 8 bytes
 * a cycle; not for secrets. */
void lr_image_sum(const uint64_t *seed, const uint8_t *bytes, size_t size, uint64_t *sum);

/* Another number for each build of the core: images of other builds are refused. */
uint64_t lr_image_build(void);

/* The bytes that an image of this vocabulary takes. LR_E_UNSUPPORTED: of this kind there are none. LR_E_ARGUMENT. */
lr_status lr_image_size(const lr_vocab *vocab, uint64_t *size);

/* Writes lr_image_size bytes. LR_FULL: `room` is less. */
lr_status lr_image_write(const lr_vocab *vocab, const lr_image_label *label, uint8_t *out, uint64_t room);

/* The label of an image whose head is whole and of this build; nothing behind the head is looked at. LR_E_FORMAT. */
lr_status lr_image_read_label(const uint8_t *image, uint64_t size, lr_image_label *label);

/* A vocabulary that lies in `image`, which begins on LR_IMAGE_ALIGN bytes. All of it was checked: by a sum against
 * damage, by ranges so that not even bytes that were made to deceive lead outside it. *vocab is to be freed.
 * LR_E_FORMAT: it is no image, or not a whole one, or of another build. LR_E_ARGUMENT, LR_E_MEMORY. */
lr_status lr_image_open(const uint8_t *image, uint64_t size, lr_vocab **vocab);

/* For tests and the fuzz target: makes the sum right again in an image that was tampered with; LR_E_FORMAT for one
 * that is too short. */
lr_status lr_image_reseal(uint8_t *image, uint64_t size);

#endif
