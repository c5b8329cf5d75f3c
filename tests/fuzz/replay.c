/* replay.c - main() of a fuzz target without a fuzzer: every file named, and every file of every folder named, is fed
 * to it once. So whatever was found stays found, on machines and with compilers that have no libFuzzer. */
#include "tests/fuzz/fuzz.h"
#include <dirent.h>
#include <sys/stat.h>

static size_t n_files;

static void replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    if (f == NULL || fstat(fileno(f), &st) == -1) {
        perror(path);
        exit(1);
    }
    uint8_t *bytes = malloc((size_t)st.st_size + 1);
    if (bytes == NULL)
        abort();
    size_t len = fread(bytes, 1, (size_t)st.st_size, f);
    fclose(f);
    uint8_t *input = fuzz_copy(bytes, len);
    free(bytes);
    fprintf(stderr, "%s\n", path); /* The last one named is the one that crashed. */
    LLVMFuzzerTestOneInput(input, len);
    free(input);
    n_files++;
}

static void replay_folder(const char *path, DIR *folder)
{
    char file[4096];
    for (struct dirent *e = readdir(folder); e != NULL; e = readdir(folder))
        if (e->d_name[0] != '.' && snprintf(file, sizeof file, "%s/%s", path, e->d_name) < (int)sizeof file)
            replay_file(file);
}

int main(int argc, char **argv)
{
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (folder != NULL) {
            replay_folder(argv[i], folder);
            closedir(folder);
        } else {
            replay_file(argv[i]);
        }
    }
    printf("%zu inputs\n", n_files);
    return 0;
}
