/* src/base/crc32c.h: CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of everything on disk.
 *
 * Thread: any. The result of one call continues in the next: crc32c(crc32c(0, a), b) is that of a followed by
 * b.
 */
#ifndef PARLEY_BASE_CRC32C_H
#define PARLEY_BASE_CRC32C_H

#include "src/base/base.h"

uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The same without the processor's instruction: for processors without it, and the other's oracle in tests.
 */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif
