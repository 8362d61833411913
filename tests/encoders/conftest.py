"""What independent packages make of the same texts."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def weights_by_scikit_learn():
    """Tf-idf weights of hashed n-grams by scikit-learn's vectorizers, with the idf that an encoder learnt."""
    from scipy.sparse import diags, hstack
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import normalize

    from skmrm.episodes.items import encodable

    def weigh(encoder, responses):
        kinds = [("word", encoder.word_ngrams), ("char_wb", encoder.char_ngrams)]
        parts = []
        for analyzer, ngrams in [(analyzer, ngrams) for analyzer, ngrams in kinds if ngrams is not None]:
            hasher = HashingVectorizer(
                analyzer=analyzer,
                ngram_range=ngrams,
                n_features=encoder.n_hashes,
                token_pattern=r"(?u)\b\w+\b" if analyzer == "word" else None,
                alternate_sign=False,
                norm=None,
                dtype=np.float32,
            )
            counts = hasher.transform([encodable(response) for response in responses])
            counts.data = 1 + np.log(counts.data)
            idf = encoder.idf_[len(parts) * encoder.n_hashes :][: encoder.n_hashes]
            parts.append(normalize(counts @ diags(idf)))
        return hstack(parts).tocsr()

    return weigh
