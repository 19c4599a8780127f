"""accelerate launch train.py RECIPE [key=value ...]

Fine-tunes the student of a recipe on what `cord generate RECIPE` decoded. RECIPE is a file or the name of a
bundled recipe; `key.sub=value` overrides it, e.g. train.learning_rate=1e-5; a recipe with variants needs variant=NAME.
stage=dpo or stage=distil runs the stage after it, where the recipe has that section.
"""

from __future__ import annotations

import os
import sys


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if argv else 2
    from cord_distill.common.die_with_parent import die_with_parent
    from cord_distill.common.errors import CordError
    from cord_distill.common.other_tools import foreign_words

    die_with_parent()
    try:
        wrong = foreign_words(argv)
        if wrong:
            raise CordError(wrong)
        from cord_distill.recipe.file import load_recipe
        from cord_distill.run.make_data import data_before_training
        from cord_distill.training.run import train

        recipe = load_recipe(argv[0], argv[1:])
        data_before_training(recipe, first=os.environ.get("RANK", "0") == "0")
        trained = train(recipe, argv[0])
        if trained is not None and os.environ.get("RANK", "0") == "0":
            from cord_distill.report.model_card import write_model_card

            write_model_card(trained)
    except CordError as error:
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
