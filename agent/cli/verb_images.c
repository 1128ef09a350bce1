/*
 * cringle images list | pull IMAGE... | rm IMAGE...
 */

#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

static int list(struct cli *c, struct cringle_err *err)
{
        Cri__ListImagesRequest request = CRI__LIST_IMAGES_REQUEST__INIT;
        auto_reply(Cri__ListImagesResponse) reply = NULL;
        auto_table table = { 0 };

        if (cli_images(c, "ListImages", &request, CLI_PATIENCE, &reply, err) < 0 ||
            table_row(&table, err, ROW("IMAGE", "ID", "SIZE", "PINNED")) < 0)
                return -1;

        for (size_t i = 0; i < reply->n_images; i++) {
                const Cri__Image *image = reply->images[i];
                char id[CLI_TEXT_MAX], size[CLI_TEXT_MAX];
                size_t n = image->n_repo_tags ? image->n_repo_tags : image->n_repo_digests;
                char *const *names = image->n_repo_tags ? image->repo_tags : image->repo_digests;

                for (size_t j = 0; j < n || j == 0; j++)
                        if (table_row(&table, err, ROW(n ? names[j] : "-", cli_short_id(image->id, id),
                                                       cli_size(image->size, size), image->pinned ? "yes" : "no")) < 0)
                                return -1;
        }
        table_print(&table);
        return 0;
}

static int pull(struct cli *c, char *name, struct cringle_err *err)
{
        Cri__PullImageRequest request = CRI__PULL_IMAGE_REQUEST__INIT;
        Cri__ImageSpec image = CRI__IMAGE_SPEC__INIT;
        auto_reply(Cri__PullImageResponse) reply = NULL;
        int64_t start = clock_monotonic();

        image.image = name;
        request.image = &image;
        if (cli_images(c, "PullImage", &request, CLI_FOREVER, &reply, err) < 0)
                return err_wrap(err, "pull %s", name);
        printf("%s: %s, %.1f s\n", name, reply->image_ref,
               (double) (clock_monotonic() - start) / (double) NSEC_PER_SEC);
        return 0;
}

static int drop(struct cli *c, char *name, struct cringle_err *err)
{
        Cri__ImageStatusRequest ask = CRI__IMAGE_STATUS_REQUEST__INIT;
        Cri__RemoveImageRequest request = CRI__REMOVE_IMAGE_REQUEST__INIT;
        Cri__ImageSpec image = CRI__IMAGE_SPEC__INIT;
        auto_reply(Cri__ImageStatusResponse) status = NULL;
        auto_reply(Cri__RemoveImageResponse) reply = NULL;

        image.image = name;
        ask.image = request.image = &image;
        if (cli_images(c, "ImageStatus", &ask, CLI_PATIENCE, &status, err) < 0)
                return -1;
        if (!status->image)     /* CRI calls removing nothing a success; a person has mistyped */
                return err_set(err, CRINGLE_E_NOT_FOUND, "there is no image '%s'", name);
        if (cli_images(c, "RemoveImage", &request, CLI_PATIENCE, &reply, err) < 0)
                return err_wrap(err, "remove %s", name);
        return 0;
}

int verb_images(struct cli *c, int argc, char **argv, struct cringle_err *err)
{
        const char *word = argc > 1 ? argv[1] : "";

        if (strcmp(word, "list") == 0 && argc == 2)
                return list(c, err);
        if (argc < 3 || (strcmp(word, "pull") != 0 && strcmp(word, "rm") != 0))
                return cli_usage("images list | pull IMAGE... | rm IMAGE...");

        for (int i = 2; i < argc; i++)
                if ((word[0] == 'p' ? pull(c, argv[i], err) : drop(c, argv[i], err)) < 0)
                        return -1;
        return 0;
}
