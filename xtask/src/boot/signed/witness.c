/* A program for firmware, small enough to be signed in many ways: it writes what the TPM has seen to port 0x403.
 *
 * Started by shim, it first asks shim's protocol for every file \probe\00.efi, \probe\01.efi ... whether that could be
 * started: shim then verifies and measures it as it does for what it starts itself. What is written:
 *
 *   "probe"  u32 number  u64 status      for each of these files
 *   "log"    u32 length  the event log of the TCG2 protocol
 *   "pcrs"   u32 length  the TPM's response to TPM2_PCR_Read of PCR 4 and 7
 *
 * Built with -DLAST it does that and switches the machine off; else it returns an error at once, and firmware goes on
 * with the next boot option. Structures are those of the UEFI specification 2.10 and of the TCG EFI Protocol
 * Specification; a table is an array of pointers here, since only few of its functions are called. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define FIRMWARE __attribute__((ms_abi))
#define ABORTED (0x8000000000000015ULL)

enum { SYSTEM_RUNTIME = 11, SYSTEM_BOOT = 12 };           /* tables in the system table */
enum { BOOT_HANDLE_PROTOCOL = 19, BOOT_LOCATE_PROTOCOL = 40 };
enum { RUNTIME_RESET = 13 };
enum { IMAGE_DEVICE = 3 };                                /* in EFI_LOADED_IMAGE_PROTOCOL */
enum { TCG2_GET_EVENT_LOG = 1, TCG2_SUBMIT_COMMAND = 3 };
enum { LARGEST_FILE = 32768 };

FIRMWARE u64 entry(void *image, void **system) {
#ifdef LAST
    void run(void *, void **);
    run(image, system);
    ((FIRMWARE void (*)(u32, u64, u64, void *))((void **)system[SYSTEM_RUNTIME])[RUNTIME_RESET])(2, 0, 0, 0);
#endif
    return ABORTED;
}

#ifdef LAST
static void put(const void *bytes, u64 length) {
    for (const u8 *next = bytes; length--; next++)
        __asm__ volatile("outb %0, %1" : : "a"(*next), "Nd"((u16)0x403));
}

static void put_block(const char *name, u64 name_length, const void *bytes, u32 length) {
    put(name, name_length);
    put(&length, sizeof length);
    put(bytes, length);
}

static u16 u16_at(const u8 *bytes) { return bytes[0] | bytes[1] << 8; }
static u32 u32_at(const u8 *bytes) { return u16_at(bytes) | (u32)u16_at(bytes + 2) << 16; }

/* Where a TCG_PCR_EVENT2 ends. */
static const u8 *end_of_event(const u8 *event) {
    u32 count = u32_at(event + 8);
    event += 12;
    while (count--) {
        u16 algorithm = u16_at(event);
        event += 2 + (algorithm == 4 ? 20 : algorithm == 12 ? 48 : algorithm == 13 ? 64 : 32);
    }
    return event + 4 + u32_at(event);
}

static void tell_of_tpm(void **tcg2) {
    u64 first, last;
    u8 is_truncated;
    ((FIRMWARE u64 (*)(void *, u32, u64 *, u64 *, u8 *))tcg2[TCG2_GET_EVENT_LOG])(tcg2, 2, &first, &last,
                                                                                  &is_truncated);
    put_block("log", 3, (void *)first, end_of_event((const u8 *)last) - (const u8 *)first);

    u8 command[] = {0x80, 1, 0, 0, 0, 20, 0, 0, 1, 0x7e, 0, 0, 0, 1, 0, 0x0b, 3, 0x90, 0, 0};
    u8 response[256];
    for (u32 i = 0; i < sizeof response; i++)
        ((volatile u8 *)response)[i] = 0;
    ((FIRMWARE u64 (*)(void *, u32, u8 *, u32, u8 *))tcg2[TCG2_SUBMIT_COMMAND])(tcg2, sizeof command, command,
                                                                              sizeof response, response);
    put_block("pcrs", 4, response, response[5] | response[4] << 8);
}

/* Asks shim for each file of the folder `probe` on the volume that this program comes from. */
static void ask_shim(void *image, void **boot, void **shim, u8 *file) {
    static const u8 LOADED_IMAGE[] = {0xa1, 0x31, 0x1b, 0x5b, 0x62, 0x95, 0xd2, 0x11,
                                      0x8e, 0x3f, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b};
    static const u8 FILE_SYSTEM[] = {0x22, 0x5b, 0x4e, 0x96, 0x59, 0x64, 0xd2, 0x11,
                                     0x8e, 0x39, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b};
    FIRMWARE u64 (*protocol)(void *, const void *, void *) = boot[BOOT_HANDLE_PROTOCOL];
    void **loaded, **volume, **root, **opened;
    if (protocol(image, LOADED_IMAGE, &loaded) || protocol(loaded[IMAGE_DEVICE], FILE_SYSTEM, &volume)
        || ((FIRMWARE u64 (*)(void *, void *))volume[1])(volume, &root))
        return;
    for (u32 number = 0;; number++) {
        u16 name[] = {'\\', 'p', 'r', 'o', 'b', 'e', '\\', '0' + number / 10, '0' + number % 10, '.', 'e', 'f', 'i', 0};
        if (((FIRMWARE u64 (*)(void *, void *, u16 *, u64, u64))root[1])(root, &opened, name, 1, 0))
            return;
        u64 length = LARGEST_FILE;
        ((FIRMWARE u64 (*)(void *, u64 *, u8 *))opened[4])(opened, &length, file);
        /* Whichever convention this shim was built for: of System V (the first two), or of UEFI (the next two, and
         * room on the stack). */
        u64 (*verify)(u8 *, u64, u64, u8 *, u64, u64, u64, u64, u64, u64) = (void *)shim[0];
        u64 status = verify(file, length, length, file, 0, 0, 0, 0, 0, 0);
        put("probe", 5);
        put(&number, sizeof number);
        put(&status, sizeof status);
    }
}

void run(void *image, void **system) {
    static const u8 TCG2[] = {0x6c, 0x76, 0x7f, 0x60, 0x55, 0x74, 0xbe, 0x42,
                              0x93, 0x0b, 0xe4, 0xd7, 0x6d, 0xb2, 0x72, 0x0f};
    static const u8 SHIM_LOCK[] = {0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43,
                                   0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23};
    u8 file[LARGEST_FILE];
    void **boot = system[SYSTEM_BOOT], **shim, **tcg2;
    FIRMWARE u64 (*locate)(const void *, void *, void *) = boot[BOOT_LOCATE_PROTOCOL];
    if (!locate(SHIM_LOCK, 0, &shim))
        ask_shim(image, boot, shim, file);
    if (!locate(TCG2, 0, &tcg2))
        tell_of_tpm(tcg2);
}
#endif
