"""Fit on the bundled corpus and export what app.py serves: python make_bundle.py scorer."""

import argparse

from skmrm import MetaRewardModel
from skmrm.datasets import load_style_preferences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="where to write the bundle")
    parser.add_argument("--users", type=int, default=400, help="simulated users to learn from (default: %(default)s)")
    options = parser.parse_args()
    data = load_style_preferences(n_users=options.users, random_state=0)
    model = MetaRewardModel(random_state=0).fit(data.episodes)
    report = model.export_onnx(options.folder)
    print(
        f"wrote {options.folder}: rewards of {report.parity.n_inputs} inputs differ from the live model's by at most "
        f"{report.parity.largest_difference:.1g}"
    )


if __name__ == "__main__":
    main()
