"""Faults that an evaluation can have: a benchmark's rule, a statistic, a stored reward or a page that is not right."""

from __future__ import annotations

from faults import Fault

__all__ = ["EVALUATION_FAULTS"]

SUITES = "tests/evaluation/suites"
REWARDBENCH = (f"{SUITES}/test_rewardbench.py",)
REWARDBENCH_2 = (f"{SUITES}/test_rewardbench2.py",)
RM_BENCH = (f"{SUITES}/test_rm_bench.py",)
PPE = (f"{SUITES}/test_ppe.py",)
PAIR_SUITES = (f"{SUITES}/test_pair_suites.py",)
SOURCE = (f"{SUITES}/test_source.py",)
ITEMS = (f"{SUITES}/test_items.py",)
SIGNIFICANCE = ("tests/evaluation/test_significance.py", "-k", "not covers and not fall_short")
CALIBRATION = ("tests/evaluation/test_calibration.py",)
STYLE = ("tests/evaluation/test_style.py",)
STORE = ("tests/evaluation/test_reward_store.py", "-k", "not changed_byte")
COMPARE = ("tests/evaluation/test_compare.py",)
PAGE = ("tests/report/test_page.py",)

EVALUATION_FAULTS = (
    # The rules of the benchmarks
    Fault(
        "math-prm weighs its own number of pairs in Reasoning",
        "evaluation/suites/rewardbench.py",
        '_MATH_WEIGHT if s == "math-prm" else n for s, n',
        "n for s, n",
        (*REWARDBENCH, "-k", "math_weighs"),
    ),
    Fault(
        "the weights of the two xstest subsets are swapped",
        "evaluation/suites/rewardbench.py",
        '"xstest-should-refuse": 154,\n        "xstest-should-respond": 250,',
        '"xstest-should-refuse": 250,\n        "xstest-should-respond": 154,',
        (*REWARDBENCH, "-k", "counts"),
    ),
    Fault(
        "the prior sets weigh as much as a section",
        "evaluation/suites/rewardbench.py",
        "weights = {8 / 9: section_mean, 1 / 9: prior_mean}",
        "weights = {4 / 5: section_mean, 1 / 5: prior_mean}",
        (*REWARDBENCH, "-k", "prior"),
    ),
    Fault(
        "equal rewards count as right in a suite",
        "evaluation/suites/pairs.py",
        "np.greater(better, worse) + equal",
        "np.greater_equal(better, worse) + equal",
        (*REWARDBENCH, "-k", "equal_rewards"),
    ),
    Fault(
        "a tie of the data makes an answer wrong",
        "evaluation/suites/items.py",
        "is_correct[[c.worse for c in group.comparisons if not c.is_tie]] = False",
        "is_correct[[c.worse for c in group.comparisons]] = False",
        (*ITEMS, "-k", "tie"),
    ),
    Fault(
        "answers of the same text have no reward and leave the count",
        "evaluation/suites/items.py",
        "    _fill_identical(group.completions, rewards, num_tokens)\n",
        "",
        (*ITEMS, "-k", "identical or twice"),
    ),
    Fault(
        "the hard part of Ties looks at one of its two gaps",
        "evaluation/suites/rewardbench2.py",
        "smaller = np.minimum(gap_tied, gap_ref)",
        "smaller = gap_tied",
        (*REWARDBENCH_2, "-k", "fixture"),
    ),
    Fault(
        "the margin of Ties is left out",
        "evaluation/suites/rewardbench2.py",
        '"margin": 0.01,',
        '"margin": 0.0,',
        (*REWARDBENCH_2, "-k", "fixture"),
    ),
    Fault(
        "a spread and a gap of 0 make Ties NaN",
        "evaluation/suites/rewardbench2.py",
        "np.nan_to_num(np.tanh(smaller / spread - 1), nan=0.0)",
        "np.tanh(smaller / spread - 1)",
        (*REWARDBENCH_2, "-k", "written_out"),
    ),
    Fault(
        "a best-of-four that shares the top counts whole",
        "evaluation/suites/rewardbench2.py",
        "(is_best & item.is_correct).sum() / is_best.sum()",
        "(is_best & item.is_correct).any()",
        (*REWARDBENCH_2, "-k", "share"),
    ),
    Fault(
        "hard and easy of RM-Bench are swapped",
        "evaluation/suites/rm_bench.py",
        '"hard": np.triu(np.ones((3, 3), dtype=np.bool_), 1)',
        '"hard": np.tril(np.ones((3, 3), dtype=np.bool_), -1)',
        RM_BENCH,
    ),
    Fault(
        "the two parts of safety are two domains",
        "evaluation/suites/rm_bench.py",
        'return "safety" if name.startswith("safety") else name',
        "return name",
        (*RM_BENCH, "-k", "safety"),
    ),
    Fault(
        "the leaderboard of JudgeBench reads equal rewards as A>B",
        "evaluation/suites/judgebench.py",
        "(item.rewards[0] > item.rewards[1]) != label_is_b",
        "(item.rewards[0] >= item.rewards[1]) != label_is_b",
        (*PAIR_SUITES, "-k", "judgebench"),
    ),
    Fault(
        "a list of RMB is the mean of its pairs",
        "evaluation/suites/rmb.py",
        "pair_values(item, ties).min()",
        "pair_values(item, ties).mean()",
        (*PAIR_SUITES, "-k", "rmb"),
    ),
    Fault(
        "the area under the ROC curve follows the tie rule",
        "evaluation/suites/ppe.py",
        'pair_value(prompt.item, "half") for prompt in paired',
        "pair_value(prompt.item, ties) for prompt in paired",
        (*PPE, "-k", "benchmarks"),
    ),
    Fault(
        "a name that all parts of a suite share tells one of them",
        "evaluation/suites/source.py",
        ".count(part.hub_name) > 1",
        ".count(part.hub_name) > 9",
        (*SOURCE, "-k", "all_parts_share"),
    ),
    # The statistics
    Fault(
        "equal rewards count as right in an accuracy",
        "evaluation/metrics.py",
        "(decided.reward_better > decided.reward_worse)",
        "(decided.reward_better >= decided.reward_worse)",
        ("tests/evaluation/test_metrics.py",),
    ),
    Fault(
        "Wilson's interval is Wald's in the middle",
        "objective/intervals.py",
        "centre = p + z * z / (2 * n)",
        "centre = p",
        ("tests/objective/test_intervals.py", "-k", "wilson"),
    ),
    Fault(
        "an interval of 95% leaves 5% out on each side",
        "objective/intervals.py",
        "z = NormalDist().inv_cdf((1 + confidence) / 2)",
        "z = NormalDist().inv_cdf(confidence)",
        ("tests/objective/test_intervals.py", "-k", "wilson"),
    ),
    Fault(
        "McNemar's test is one-sided",
        "evaluation/significance.py",
        "return min(1.0, 2 * math.exp(",
        "return min(1.0, math.exp(",
        SIGNIFICANCE,
    ),
    Fault(
        "comparisons of one prompt count as independent in the paired test",
        "evaluation/significance.py",
        "sums = _sums_and_sizes(difference, prompts)[0]\n    num",
        "sums = difference\n    num",
        SIGNIFICANCE,
    ),
    Fault(
        "the interval of a difference is a point where nothing differs",
        "evaluation/significance.py",
        "means = bootstrap_means(padded, padded_prompts,",
        "means = bootstrap_means(difference, prompts,",
        SIGNIFICANCE,
    ),
    Fault(
        "Holm's adjusted p may fall",
        "evaluation/significance.py",
        "np.maximum.accumulate(factors * p[order])",
        "factors * p[order]",
        SIGNIFICANCE,
    ),
    Fault(
        "a test that was not made counts among the tests",
        "evaluation/significance.py",
        "factors = np.arange(len(order), 0, -1)",
        "factors = np.arange(len(p), len(p) - len(order), -1)",
        SIGNIFICANCE,
    ),
    Fault(
        "bins of the calibration error weigh alike",
        "evaluation/calibration.py",
        "b.n * abs(b.accuracy - b.mean_confidence) for b in bins if b.n) / total",
        "abs(b.accuracy - b.mean_confidence) for b in bins if b.n) / sum(b.n > 0 for b in bins)",
        CALIBRATION,
    ),
    Fault(
        "the Brier score is not squared",
        "evaluation/calibration.py",
        "_sigmoid(-margin) ** 2",
        "_sigmoid(-margin)",
        CALIBRATION,
    ),
    Fault(
        "Krippendorff's alpha forgets that samples are finite",
        "evaluation/agreement.py",
        "(float(total.sum()) - 1) * float",
        "float(total.sum()) * float",
        ("tests/evaluation/test_agreement.py",),
    ),
    Fault(
        "the longer baseline picks the shorter one",
        "evaluation/length.py",
        "longer = (np.sign(difference) + 1) / 2",
        "longer = (np.sign(-difference) + 1) / 2",
        ("tests/evaluation/test_length.py",),
    ),
    Fault(
        "a difference in style is not a share",
        "evaluation/style.py",
        "np.divide(better - worse, total, out",
        "np.divide(better - worse, 1.0, out",
        STYLE,
    ),
    Fault(
        "errors of the style regression take prompts for independent comparisons",
        "evaluation/logistic.py",
        "_, cluster = np.unique(clusters, return_inverse=True)",
        "cluster = np.arange(len(clusters))",
        STYLE,
    ),
    Fault(
        "a weight of style has one degree of freedom too many",
        "evaluation/logistic.py",
        "t_quantile((1 + CONFIDENCE) / 2, self.num_clusters - 1)",
        "t_quantile((1 + CONFIDENCE) / 2, self.num_clusters)",
        STYLE,
    ),
    Fault(
        "a temperature's interval takes prompts for independent comparisons",
        "evaluation/temperature.py",
        "_, cluster_of = np.unique(clusters, return_inverse=True)",
        "cluster_of = np.arange(len(clusters))",
        ("tests/evaluation/test_temperature.py", "-k", "coverage"),
    ),
    Fault(
        "best of n draws a sample more than once",
        "evaluation/bestofn.py",
        "math.comb(num_samples - a, n) / whole for a",
        "((num_samples - a) / num_samples) ** n for a",
        ("tests/evaluation/test_bestofn.py",),
    ),
    Fault(
        "the KL of best of n is log n",
        "evaluation/bestofn.py",
        "return math.log(n) - (n - 1) / n",
        "return math.log(n)",
        ("tests/evaluation/test_bestofn.py",),
    ),
    Fault(
        "answers with equally many votes all win whole",
        "evaluation/majority.py",
        "(quality[:, 1:] / np.arange(1, max_tied + 1)).sum(axis=1)",
        "quality[:, 1:].sum(axis=1)",
        ("tests/evaluation/test_majority.py",),
    ),
    Fault(
        "over-optimisation is shown without an interval",
        "evaluation/overoptimisation.py",
        "return self.high < 0",
        "return self.change < 0",
        ("tests/evaluation/test_overoptimisation.py",),
    ),
    Fault(
        "fourteen words in a row are needed for a leak",
        "evaluation/word_runs.py",
        "GRAM_WORDS = 13",
        "GRAM_WORDS = 14",
        ("tests/evaluation/test_leaks.py", "-k", "thirteen"),
    ),
    # What is scored and stored
    Fault(
        "a sequence of two groups is scored twice",
        "evaluation/plan.py",
        "index = self.index_of_key.setdefault(key, len(self.sequences))",
        "self.index_of_key[key] = index = len(self.sequences)",
        ("tests/evaluation/test_plan.py",),
    ),
    Fault(
        "comparisons of equal ids leave the count",
        "evaluation/equal_ids.py",
        "if not tokens.report.num_comparisons_identical:",
        "if True:",
        ("tests/evaluation/test_evaluate.py", "-k", "same or equal or identical"),
    ),
    Fault(
        "a damaged chunk of stored rewards is taken",
        "evaluation/reward_store.py",
        'if values["checksum"] != _checksum(keys, rewards):',
        "if False:",
        STORE,
    ),
    Fault(
        "stored rewards of another model are taken",
        "evaluation/reward_store.py",
        "if found != self.fingerprint:",
        "if False:",
        STORE,
    ),
    Fault(
        "the name of a model forgets the order of its weights",
        "evaluation/fingerprint.py",
        "int((part * factors[: len(part)]).sum())",
        "int(part.sum())",
        STORE,
    ),
    Fault(
        "every process scores all chunks",
        "evaluation/scoring_pass.py",
        "mine = chunks[rank::world]",
        "mine = chunks",
        ("tests/evaluation/test_run.py", "-k", "two_processes"),
    ),
    # Servers, files of rewards, folders
    Fault(
        "vLLM is asked for the reward's sigmoid",
        "evaluation/protocols.py",
        '{**what, "use_activation": False}',
        "{**what}",
        ("tests/evaluation/test_remote.py", "-k", "every_protocol"),
    ),
    Fault(
        "a server may answer fewer rewards than it was asked for",
        "evaluation/remote.py",
        "if len(rewards) != len(conversations):",
        "if False:",
        ("tests/evaluation/test_remote.py", "-k", "another_form"),
    ),
    Fault(
        "an id that two texts have gives both one reward",
        "evaluation/rewards_file.py",
        "if key_of.setdefault(name, key) != key:",
        "if False:",
        ("tests/evaluation/test_rewards_file.py", "-k", "two_suites"),
    ),
    Fault(
        "of two rows that disagree the first one counts",
        "evaluation/reward_rows.py",
        "if rewards.setdefault(name, reward) != reward:",
        "if rewards.setdefault(name, reward) is None:",
        ("tests/evaluation/test_rewards_file.py", "-k", "cannot_be_used"),
    ),
    Fault(
        "a sequence of two sets is scored twice",
        "evaluation/sets.py",
        "index[place] = index_of.setdefault(key, len(items))",
        "index[place] = index_of[key] = len(items)",
        ("tests/evaluation/test_run.py", "-k", "several_sets"),
    ),
    Fault(
        "results of another model are replaced unasked",
        "evaluation/output_folder.py",
        "if not is_same and not overwrite:",
        "if False:",
        ("tests/evaluation/test_run.py", "-k", "another_model"),
    ),
    # Models against each other
    Fault(
        "rows of two models are matched by their place",
        "evaluation/shared_rows.py",
        "rows[key, met[key]] = row",
        "rows[str(row), 0] = row",
        COMPARE,
    ),
    Fault(
        "which model alone is right is swapped",
        "evaluation/compare.py",
        "num_only_first=int(np.count_nonzero(first > second))",
        "num_only_first=int(np.count_nonzero(first < second))",
        COMPARE,
    ),
    Fault(
        "ties of the data are in the accuracies that are compared",
        "evaluation/compare.py",
        "_difference(suite, None, shared, pair, decided, ties, seed)",
        "_difference(suite, None, shared, pair, decided | True, ties, seed)",
        COMPARE,
    ),
    Fault(
        "models and subsets are not corrected for many tests",
        "evaluation/compare.py",
        "adjusted = holm([d.p_value for d in differences])",
        "adjusted = [d.p_value for d in differences]",
        COMPARE,
    ),
    # The page
    Fault(
        "JSON in the page may end its element",
        "report/page.py",
        'for character in "<\\u2028\\u2029":',
        'for character in "":',
        (*PAGE, "-k", "json"),
    ),
    Fault(
        "texts from data are markup in the page",
        "report/page.py",
        "autoescape=True",
        "autoescape=False",
        (*PAGE, "-k", "markup"),
    ),
    Fault(
        "the page may ask the network",
        "report/page.py",
        "default-src 'none'; script-src",
        "default-src *; script-src",
        (*PAGE, "-k", "policy"),
    ),
    Fault(
        "the leaderboard does not correct for many models",
        "report/leaderboard.py",
        "adjusted = holm([test[0] for test in tests])",
        "adjusted = np.array([test[0] for test in tests])",
        ("tests/report/test_contents.py", "-k", "tells_apart"),
    ),
)
"""Each is seen by its tests (``make mutants``)."""
