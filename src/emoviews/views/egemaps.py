"""eGeMAPS: 88 functionals of pitch, loudness, voice quality and spectrum over the whole utterance (the paper, section 3.2).

Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for voice research and affective computing", IEEE
Transactions on Affective Computing 7(2), 2016; the extended set in its version 02, as opensmile computes it.
"""

from __future__ import annotations

from emoviews.views._opensmile import OpensmileFunctionals


class Egemaps(OpensmileFunctionals):
    """`(samples,)` → `(features,)`, the 88 functionals of eGeMAPSv02."""

    name = "egemaps"
    title = "88 eGeMAPS functionals of the whole utterance, by openSMILE"
    version = 1
    feature_set = "eGeMAPSv02"
    n_features = 88


VIEW = Egemaps
