"""Graders. Lazy versions that fail: the last number of a cut-off text as its answer, a percent rule by which 10 = 1000,
a regex for \\boxed that stops at the first brace, sympy in our own process."""

from __future__ import annotations

import json
import random
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cord_distill.common.errors import CordError
from cord_distill.grading import leaves, load_grader, same_integer, same_math
from cord_distill.grading.extract import answer_of, boxes, loose_answer
from cord_distill.grading.pairs import accepts, grade_file
from cord_distill.grading.sizes import too_large
from cord_distill.grading.worker import Worker, shared_worker
from cord_distill.types import Problem

# Rows of the development set whose label we hold for wrong, and why. The grader is not bent to them.
DISPUTED = {
    "thinking-machines-lab/tinker-cookbook/grade_answer/139#395": "1/2 is 2/4; the row wants the reduced form",
    "huggingface/Math-Verify/test_string_extraction/28#249": "says that 1 - 1/e equals 1 + 1/e",
}


def problem(answer: str) -> Problem:
    return Problem("p", "?", answer)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so 7.</think>The answer is \\boxed{7}.", "7"),
        ("\\boxed{1}</think>first \\boxed{2}. No: \\boxed{3}.", "3"),
        ("</think>\\boxed{\\frac{1}{\\sqrt{2}}}", "\\frac{1}{\\sqrt{2}}"),
        ("</think>\\boxed{\\text{a \\} b}}", "\\text{a \\} b}"),
        ("</think>$\\boxed{(2,2)}$ and $\\boxed{(6,2)}$", "(2,2), (6,2)"),
        ("</think>\\boxed{1} no no no \\boxed{2}", "2"),
        ("</think>The final answer is $12$. I hope it is correct.", "12"),
        ("</think>**Answer:** 42", "42"),
        ("</think>\\boxed{255} at first. The final answer is 300.", "300"),
        ("</think> 025 ", "025"),
        ("</think>\\boxed{5", None),
        ("</think>we get 3 + 4 = 7, and hence 7", None),
        ("</think>We add.\n\nTherefore, the number of paths is 4495.", "4495"),
        ("</think>We add.\n\nHence the slope is \\(\\frac{7}{4}\\).", "\\frac{7}{4}"),
        ("</think>The slope is $\\frac74$.", "\\frac74"),
        ("</think>First x is 7. Then y is 8.", None),
        ("</think>So, if x is 7.", None),
        ("</think>Therefore x is not 7.", None),
        ("</think>Thus x is at least 7.", None),
        ("</think>Therefore, the value is 7, which", None),
        ("</think>$$\n\\sqrt{7}\n$$", "\\sqrt{7}"),
        ("</think>**12**", "12"),
        ("</think>**Final Answer**\n\n> $x = 3$", "x = 3"),
        ("</think><answer>7</answer>", "7"),
        ("</think><answer>so \\boxed{7}</answer>", "7"),
        ("</think>so it goes\n#### \\frac{3}{7}", "\\frac{3}{7}"),
        ("</think>A seems right, but the correct choice is D.", "D"),
        ("</think>The answer is 5, since 2+3=5.", "5"),
        ("</think>The correct option is B, not C.", "B"),
        ("</think>The answer is not 5.", "not 5"),
        ("</think>The answer is `12`.", "12"),
        ("it is \\boxed{7}", None),
        ("", None),
        ("</think>The remainder is \\boxed{031}, so the answer is \\boxed{031}.", "031"),
        ("</think>\\boxed{4}, so the answer is \\boxed{5}", "5"),
        ("</think>Not \\boxed{4}, but \\boxed{5}.", "5"),
        ("</think>\\boxed{5}. The final answer is correct since 2+3=5.", "5"),
        ("</think>So $\\boxed{5}$.\n\nThis final answer is verified by substitution.", "5"),
        ("</think>\\boxed{5} (Final answer: see box)", "5"),
        ("</think>so\n\n**Final Answer**\n\n$41$", "41"),
        ("</think># Answer\n\n41", "41"),
        ("</think>Therefore, the answer should be 3 units.\n\nThe radius is 4.", "3 units"),
        ("</think>### Final Answer\n\n$$\n\\frac{3}{8}\n$$\nas it was asked", "\\frac{3}{8}"),
        ("</think>**Final Answer**\n\nThe rest follows from x = 3.", None),
        ("</think>2 x 36 is 72.\n#### 72", "72"),
        ("</think>\n#### 2\nThen we go on", None),
        ("a</think>b<think>\\boxed{1}</think>\\boxed{2}", "2"),
        ("a</think>\\boxed{1}<think>again \\boxed{2}", "1"),
    ],
)
def test_answer_is_read_behind_the_thought(text: str, answer: str | None) -> None:
    """`hence 7` is no answer: taking the last number turns cut-off texts into right ones."""
    assert answer_of(text) == answer


def test_answers_inside_the_thought_count_only_when_asked() -> None:
    text = "so it is \\boxed{7}"
    assert load_grader("math")(text, problem("7")) == (None, False)
    assert load_grader("math", answer_in_thought=True)(text, problem("7")) == ("7", True)
    # What follows the thought wins where both are there.
    assert load_grader("math", answer_in_thought=True)("\\boxed{7}</think>\\boxed{8}", problem("7")) == ("8", False)


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 14_000,
        "\\boxed{7}" * 11_000,
        "{" * 100_000 + "\\boxed{7}",
        "the answer is " * 7_000,
        "answer" * 16_000,
        "$" * 100_000,
        "$x$, " * 20_000,
        "<think>" * 15_000,
        "1,000," * 16_000,
        "\\text{" * 16_000,
        " " * 100_000,
        "-" * 100_000,
        "\\boxed{7} and " * 7_000,
        "\\boxed{7}" + "x" * 100_000,
        "</think>" * 12_000,
        "</think><think>" * 6_000,
        "**Answer:** " * 8_000,
        "\\boxed " * 14_000,
        "$\\boxed{" + "{" * 50_000 + "}" * 50_000 + "}$",
        "1.2." * 25_000,
        "\\frac{1}{2}" * 9_000,
        "答案" * 20_000,
        "final answer " * 7_000,
    ],
)
@pytest.mark.usefixtures("within_minutes")
def test_extraction_comes_to_an_end(text: str) -> None:
    """200k characters of every kind of trap: a pattern that looks at each place many times hangs, and so does matching
    each \\boxed from its start."""
    answer_of("x</think>" + 2 * text)
    loose_answer(2 * text)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("\\{}$ boxed12</think>,.()[]answeris^_%fracsqrt"), max_size=200))
def test_extraction_takes_anything(text: str) -> None:
    for start, end, content in boxes(text):
        assert text[start:end].endswith(content + "}")
    answer_of(text)
    loose_answer(text)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from("\\{}123x,+-*/^()[]=<>. pm;:fracsqrttext%"), max_size=40))
def test_an_answer_is_never_less_than_itself(text: str) -> None:
    """Whatever the text: no crash, and equality does not depend on the side."""
    assert same_math(text, "12345678901") == same_math("12345678901", text)


# One pair per line: gold ~ prediction.
SAME_INTEGERS = r"""
    073 ~ 73
    73 ~ $073$
    204 ~ \text{204}
    90 ~ 90^\circ
    12 ~ m + n = 12
    1000 ~ 1,000
"""
OTHER_INTEGERS = r"""
    10 ~ 1000
    1 ~ 100
    204 ~ \frac{408}{2}
    7 ~ 7.5
    7 ~ -7
    7 ~ seven
    12 ~ 1,2
    73 ~ 73\%
    73 ~ 73 percent
    6 ~ x=5, y=6
    12 ~ x=5 or x=12
    -1000000000000000007 ~ -1000000000000000009
"""
SAME = r"""
    \frac{1}{2} ~ 0.5
    \frac12 ~ 1/2
    918\frac{1}{2} ~ 918.5
    10080 ~ 10,\!080
    1234 ~ 1\,234
    \left( 3, \frac{\pi}{2} \right) ~ (3,\pi/2)
    (-\infty,-8)\cup (8,\infty) ~ (8,\infty)\cup(-\infty,-8)
    (2,12) \cup (12,102) ~ ( 2,12)\cup( 12,102)
    3 \pm 2\sqrt{2} ~ 3-2\sqrt{2}, 3+2\sqrt{2}
    \{1,2\} ~ 2, 1
    y = x^2+2x+1 ~ (x+1)^2
    x<2 ~ 2>x
    2x+4y-3=0 ~ y = -\frac12 x + \frac34
    \text{Evelyn} ~ Evelyn
    \text{(C)} ~ C
    10 ~ 10\text{ cm}
    \sqrt{3}-1 ~ -1 + sqrt(3)
    96-10\sqrt{21} ~ \frac{6\sqrt{1789-240\sqrt{21}}+8\sqrt{1236-240\sqrt{21}}}{5}
    28\% ~ 0.28
    28\% ~ 28
    0.335 ~ 33.5pct
    \frac13 ~ 0.333333
    90^\circ ~ 90
    -2 \le x \le 7 ~ [-2,7]
    \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} ~ \begin{bmatrix}1&2\\3&4\end{bmatrix}
    3^{2025} ~ 3^{2025}
    1/2004! ~ \frac{1}{2004!}
    7:32 ~ S_1:S_2=7:32
    a_3 = 2, a_{37} = 19 ~ a_{37}=19, a_3=2
    \sqrt{5+2\sqrt6} ~ \sqrt2+\sqrt3
    \frac{e^{-500}}{2} ~ \frac{1}{2e^{500}}
    \frac{1}{\binom{200}{100}} ~ \frac{100!\cdot 100!}{200!}
    \sqrt2 ~ 1.4142135623730951
    185 ~ 185\
    C ~ \textbf{(C)}\ 17
    (3,2) ~ (x,y) = (3,2)
    x \ge 5 ~ x>=5
    x \le 5 ~ x <= 5
    \frac38 ~ \nicefrac{3}{8}
    \frac13 ~ 0.\overline{3}
    \frac16 ~ 0.1\overline{6}
    \frac{1}{100000} ~ 1e-05
    6.02\times 10^{23} ~ 6.02e23
    \begin{pmatrix}1\\2\end{pmatrix} ~ \begin{pmatrix}1\\[4pt]2\end{pmatrix}
    \text{(C) 17} ~ C) 17
    \frac12 ~ \sin 30^\circ
    1 ~ \tan(45^\circ)
    75^\circ ~ \frac{5\pi}{12}
    30^\circ 15' ~ 30.25^\circ
    468 ~ 468 \pmod{1000}
    468 ~ 468 \text{ (mod }1000)
    \frac{7}{4} ~ 1 3/4
    -\frac{7}{4} ~ -1 3/4
    25 ~ 25^\circ\text{C}
    25^\circ C ~ 25 degrees Celsius
    f(x)=\sin x + x ~ f(t)=\sin t + t
    f(n)=2n ~ f(x)=2x for all real x
    (1,4) ~ 1<x<4
    [1,4) ~ \{x \mid 1 \le x < 4\}
    (3,\infty) ~ \{x \in \mathbb{R} : x > 3\}
    (-\infty,2)\cup(2,\infty) ~ x \neq 2
    (-\infty,2)\cup(2,\infty) ~ \mathbb{R}\setminus\{2\}
    (-\infty,\infty) ~ \mathbb{R}
    (-\infty,-1)\cup(3,\infty) ~ ]-\infty,-1[ \cup ]3,\infty[
    x \in (1,4) ~ x>1 \text{ and } x<4
    \{1,2\} ~ \{2,1,1\}
    9.8\text{ m/s}^2 ~ 9.8 m s^{-2}
    9.8 m/s^2 ~ 9.8\ \mathrm{m}\cdot\mathrm{s}^{-2}
    4.18\ \mathrm{J/(g\cdot{}^\circ C)} ~ 4.18
    2.5 kJ/mol ~ 2.5\ \mathrm{kJ\,mol^{-1}}
    \begin{pmatrix}1\\2\\3\end{pmatrix} ~ \langle 1,2,3\rangle
    \hat{i}+2\hat{j} ~ (1,2)
    \mathbf{i}-\mathbf{k} ~ (1,0,-1)
    3\mathbf{i}+4\mathbf{j} ~ 4\mathbf{j}+3\mathbf{i}
    3\hat{\imath}+4\hat{\jmath} ~ \langle 3,4\rangle
    1011_2 ~ 1011_{\text{two}}
    \sqrt{51} ~ \sqrt{51}\approx 7.14
    7.14 ~ \sqrt{51}\approx 7.14
    x=\sqrt{51} ~ x = \sqrt{51} \approx 7.14
    \frac32 ~ \frac64=\frac32=1.5
    3000000 ~ 3 million
    \$3{,}000{,}000 ~ 3 million dollars
    a+b\sum_{k=1}^n k ~ \left(\sum_{k=1}^n k\right) b + a
    \text{No solution} ~ no solutions
    \text{does not exist} ~ DNE
    \emptyset ~ \text{no solution}
    H_2O ~ \mathrm{H_2O}
    \ce{Fe^{3+}} ~ Fe3+
    2H_2+O_2 \to 2H_2O ~ 2H2 + O2 -> 2H2O
    \text{Area}=5 ~ 5
    5 ~ |AB|=5
    \frac{x-1}{2} ~ f^{-1}(x)=\frac{x-1}{2}
    3.0\times 10^8\ \text{m/s} ~ 3.0e8 m/s
    12\ \Omega ~ 12 ohms
    1.5\ \mu\text{m} ~ 1.5 µm
    5\ \text{N}\cdot\text{m} ~ 5 N m
    6\text{ cm}^2 ~ 6 cm²
    6 ~ 6 square centimeters
    y=2x+1 ~ 2x-y+1=0
    \angle ABC=40^\circ ~ 40
    x=2,y=3 ~ (x,y)=(2,3)
    (2,3) ~ x=2, y=3
    \pi k, k\in\mathbb{Z} ~ \pi k
    \text{True} ~ true
    \text{yes} ~ Yes
    -\infty ~ -infinity
    0.25\text{ mol} ~ 0.25 moles
    101.3\text{ kPa} ~ 101.3
    2^{10} ~ 1024
    10^{-3} ~ 0.001
    \frac{\pi}{4} ~ π/4
    \sin\theta=\frac12 ~ \sin\theta = 0.5
    x^2-y^2=1 ~ y^2 = x^2-1
    3:4 ~ 3 : 4
    72\text{ km/h} ~ 72 kilometers per hour
    C_2H_5OH ~ C2H5OH
    \text{sodium chloride} ~ Sodium chloride
    -2, 3 ~ x=-2\text{ or }x=3
    \{-2,3\} ~ x\in\{-2,3\}
    \{-2,3\} ~ x = -2, 3
    (1,2),(3,4) ~ (3,4),(1,2)
    5! ~ 120
    e^{2x} ~ \exp(2x)
    \tan^{-1}x ~ \arctan x
    x\ge 3 ~ [3,\infty)
    2\sqrt{3}\text{ cm} ~ 2\sqrt3
    \text{Monday} ~ monday
    45\% ~ 45 percent
    1.60\times10^{-19}\,\mathrm{C} ~ 1.60e-19 C
    12.5\text{ g/mol} ~ 12.5 g mol^{-1}
    v=\sqrt{2gh} ~ \sqrt{2gh}
    F=ma ~ ma
    \frac{x^2}{2}+C ~ \frac{1}{2}x^2+c
    x+C ~ x+k
    \SI{9.8}{m/s^2} ~ 9.8
    9.8 m/s^2 ~ \SI{9.8}{m/s^2}
    5 kWh ~ 5\text{ kWh}
    30 rpm ~ 30
    2.2\,\mathrm{k\Omega} ~ 2.2 kΩ
    0.5\,\mathrm{mol\cdot L^{-1}} ~ 0.5 mol/L
    8.314\ \mathrm{J\cdot mol^{-1}\cdot K^{-1}} ~ 8.314 J/(mol·K)
    8.314\ \mathrm{J/mol\cdot K} ~ 8.314 J mol^-1 K^-1
    1.0 \times 10^{-7}\,\mathrm{M} ~ 1.0\times10^{-7}
    -285.8\text{ kJ/mol} ~ -285.8 kJ/mol
    3.2\times10^{-19}\ \mathrm{J} ~ 3.2e-19
    12\ \text{V} ~ 12 volts
    6\text{ N}\cdot\text{m} ~ 6 N·m
    0.8c ~ 0.8 c
    2\sqrt{2}\,\text{m/s} ~ 2\sqrt2
    \theta = 30^\circ ~ 30^\circ
    v = 20\,\text{m/s} ~ 20 m/s
    T = 2\pi\sqrt{\frac{L}{g}} ~ 2\pi\sqrt{L/g}
    \frac{1}{2}kx^2 ~ \frac{kx^2}{2}
    \vec{F}=m\vec{a} ~ \vec F = m \vec a
    \text{CaCO}_3 ~ CaCO3
    \text{H}_2\text{SO}_4 ~ H2SO4
    \text{Fe}_2\text{O}_3 ~ \mathrm{Fe_2O_3}
    \text{C}_6\text{H}_{12}\text{O}_6 ~ C6H12O6
    \text{Na}^+ ~ Na+
    \mathrm{NH_4^+} ~ NH4+
    \text{2-methylbutane} ~ 2-methylbutane
    \text{sp}^3 ~ sp^3
    \Delta H = -92\text{ kJ} ~ -92 kJ
    2 \text{ mol} ~ 2 moles
    \text{exothermic} ~ Exothermic
    4\text{ atm} ~ 4.0 atm
    1:2:3 ~ 1 : 2 : 3
    3.0\text{ m} ~ 3 m
    \text{seven} ~ 7
    \frac34 ~ three-fourths
    205 ~ two hundred and five
    6\text{ months} ~ \text{six months}
    (-3,3) ~ |x|<3
    [-2,2] ~ |t| \le 2
    (-\infty,-5)\cup(5,\infty) ~ |x|>5
    (0,2)\cup(2,\infty) ~ x>0, x \ne 2
    250\text{ cm} ~ 2.5\text{ m}
    90\text{ km/h} ~ 25 m/s
    3 N ~ 3 kg m/s^2
    \text{42 cm} ~ 42
    2:3 ~ 4:6
    \sqrt{5} ~ 5^(1/2)
    -3 ~ \sqrt[3]{-27}
    -1 ~ e^{i\pi}
    15 ~ {}_6C_2
    15 ~ C(6,2)
    \ln x^2 ~ 2\ln x
    \sqrt{ab} ~ \sqrt{a}\sqrt{b}
    \frac13 ~ 0.333...
    \frac13 ~ 0.(3)
    9.8\text{ m/s}^2 ~ 9.8\text{ ms}^{-2}
    30 ~ m\angle B = 30
    2x ~ \frac{dy}{dx} = 2x
    D ~ \text{Option D}
    6 \pmod 7 ~ -1 \pmod 7
    3 ~ 2.9999999999999996
    (1,4) ~ x>1, x<4
    x>1, x<4 ~ x<4 and x>1
    x<1, x>4 ~ x<1 \text{ or } x>4
    28 ~ {8 \choose 2}
    x=1,y=2 ~ \begin{cases}x=1\\y=2\end{cases}
    x-axis ~ x axis
    well-known ~ well known
"""
OTHER = r"""
    10 ~ 1000
    100 ~ 1
    20 ~ 2000
    2\% ~ 200
    1,2 ~ 12
    4,8 ~ 48
    102018 ~ 102019
    100000000000 ~ 99999999999
    0.0000001 ~ 0.0000002
    \frac13 ~ 0.33
    \pi ~ 3.14
    (2,\infty) ~ [2,\infty)
    1 ~ -[0,1)
    1,2,3 ~ 1
    10 ~ 10, 20
    (1,2) ~ (2,1)
    \{1,3\} ~ (3,1)
    (12,102) ~ 12102
    n=2, 3, 4 ~ n=1, 2, 3
    19, 46, 82 ~ 21, 36, 82
    (0,1) ~ (0,1.5)
    x>5 ~ x<5
    7 = 11a+c ~ 11a+c
    a+3z=0 ~ 0
    204_5 ~ 1204_5
    5\text{ hours} ~ 5\text{ minutes}
    12\text{ a.m.} ~ 12\text{ p.m.}
    5m ~ 5
    A ~ A, B
    \text{(A)} ~ \text{(B)}
    \text{even} ~ \text{odd}
    \text{listen} ~ \text{silent}
    3^{2025} ~ 2^{2025}
    x^2 ~ x^3
    F_n = \sum_{k=0}^{n} F_k ~ F_n = \sum_{k=0}^{n-1} F_k
    \begin{pmatrix} -7 \\ 16 \end{pmatrix} ~ 9
    2 ~ \frac{1+\sqrt5}{2}
    \frac{1}{1999!} ~ \frac{1}{1998!}
    2^{-300} ~ 3^{-300}
    e^{-100} ~ 0
    e^{-500}+\sqrt{5+2\sqrt6} ~ \sqrt2+\sqrt3
    \frac{x}{60!} ~ \frac{x}{61!}
    2^{2024}-1 ~ 2^{2024}
    10^{45}-1 ~ 10^{45}
    0.000000 ~ e^{-100}
    \sqrt{2}\cdot 10^{-50} ~ \sqrt{3}\cdot 10^{-50}
    \text{C major} ~ \text{C minor}
    \text{F to C} ~ \text{F to D}
    \text{J. Alder} ~ \text{J. Birch}
    \text{B and C} ~ \text{B}
    \text{(C) 17} ~ \text{(C) 18}
    \sin 30^\circ ~ \sin 30
    \cos(20^{\circ}) ~ \cos(20)
    40^\circ ~ 40'
    (3,2) ~ (x,y) = (2,3)
    \frac{22}{3} ~ 4 10/3
    1e-05 ~ 1e-06
    \frac13 ~ 0.\overline{33}4
    x>=5 ~ x>5
    5 \pmod{7} ~ 5 \pmod{11}
    \frac{7}{4} ~ 1 4/3
    13/4 ~ 1 3/4
    20^\circ C ~ 20^\circ F
    20^\circ C ~ 20 K
    f(x)=2x+1 ~ f(t)=2x+1
    f(x)=2x+1 ~ g(t)=2t+1
    f(x)=ax ~ f(a)=aa
    f(x)=2x for x>0 ~ f(x)=2x
    n=3k for positive integers k ~ n=3k for integers k
    (1,4) ~ 1\le x<4
    (1,4) ~ [1,4[
    (3,\infty) ~ x>-3
    (-\infty,-1)\cup(3,\infty) ~ x<3 or x>-1
    m\ge 5 ~ n\in[5,\infty)
    [-3,2] ~ 6-x-x^2\ge 0
    \{1,2,2\} ~ 1,2,2
    2,2,4 ~ \{2,4\}
    12,9 ~ 9 ducks and 12 goats
    12\text{ ducks and }9\text{ goats} ~ 9\text{ ducks and }12\text{ goats}
    3 hours 20 minutes ~ 20 hours 3 minutes
    3\text{ red }5\text{ blue} ~ 5\text{ red }3\text{ blue}
    9.8\text{ m/s}^2 ~ 9.8 m/s
    60 km/h ~ 60 m/s
    5\text{ kJ} ~ 5\text{ J}
    24 ~ 24m
    24 ~ 24x
    \begin{pmatrix}1\\2\end{pmatrix} ~ (2,1)
    \begin{pmatrix}1\\2\end{pmatrix} ~ \begin{pmatrix}1&2\end{pmatrix}
    \hat{i}+2\hat{j} ~ (2,1)
    11 ~ 1011_2
    1011_2 ~ 1011_3
    \sqrt{51} ~ 7.14
    \sqrt{51} ~ \sqrt{50}\approx 7.14
    7.14 ~ \sqrt{5}\approx 7.14
    \sqrt{51} ~ \sqrt{51} = 8
    \frac32 ~ \frac64=\frac52
    3 ~ 3 million
    3\text{ million} ~ 3\text{ billion}
    \$5 ~ 5 cents
    AB ~ ab
    Co ~ CO
    \text{no real solution} ~ no solution
    O_2^- ~ O^{2-}
    H_2O ~ H_2O_2
    NaCl ~ KCl
    (1,2) ~ \{1,2\}
    0 ~ a+3z=0
    x^2+1=0 ~ 0
    5\text{ N} ~ 5\text{ J}
    \sum_{k=1}^n k ~ \sum_{k=1}^n k^2
    1+\sum_{k=1}^n a_k ~ 1-\sum_{k=1}^n a_k
    x=3 ~ y=3
    (x,y)=(3,2) ~ (y,x)=(3,2)
    3\hat{i}+2\hat{j} ~ 3\hat{i}-2\hat{j}
    1, 2, 3 ~ (1,2),3
    even ~ odd
    12 a.m. ~ 12 p.m.
    5 ~ -5
    x<3 ~ x\le 3
    \ge 5 ~ \le 5
    pH=7 ~ pOH=7
    \frac{a}{b} ~ \frac{b}{a}
    -1 3/4 ~ 1 3/4
    5 apples ~ 5 oranges
    red ~ 5 red
    A and B ~ A and C
    1:2 ~ 2:1
    \sin 30 ~ 0.5
    \{x \mid x>3\} ~ (3,4)
    \{x\mid x>3\} ~ [3,\infty)
    2x+3 ~ 2t+3
    6 N·m ~ 6 N/m
    0.8c ~ 0.8
    \text{CaCO}_3 ~ CaCl_2
    \text{H}_2\text{SO}_4 ~ H2SO3
    \text{Na}^+ ~ Na
    \text{Na}^+ ~ Na^{2+}
    \text{2-methylbutane} ~ 3-methylbutane
    \Delta H=-92\text{ kJ} ~ 92 kJ
    a+c ~ a+k
    B+C ~ B+c
    abc ~ ABC
    2\text{ mol} ~ 2\text{ mmol}
    3 m ~ 3 m^2
    9.8\text{ m/s}^2 ~ 9.8\text{ m s}^{2}
    \mathrm{NH_4^+} ~ \mathrm{NH_3^+}
    2\text{ or }3 ~ 2
    5 ~ \text{5 or 6}
    5 ~ 5, 6
    5 ~ \{5,6\}
    7 ~ 7 \pm 1
    7 ~ 7x
    7 ~ 7\text{ or }x
    1 ~ x=1,2
    x+1 ~ x+1, x+2
    0.5 ~ 5
    [1,2] ~ 1\le x<2
    3 ~ 3 = x = 4
    4 ~ 3 = 4
    3 ~ \sqrt{9} = 3 = 4
    3 ~ 2 \approx 3
    3.1 ~ \pi \approx 3.2
    x=3 ~ 3=y
    2^{100} ~ 2^{101}
    1.00 ~ 1.01
    \sin x ~ \cos x
    e^x ~ e^{-x}
    (0,1) ~ (0,1,0)
    \begin{pmatrix}1&0\\0&1\end{pmatrix} ~ (1,0,0,1)
    \begin{pmatrix}1&2\end{pmatrix} ~ \begin{pmatrix}1\\2\end{pmatrix}
    f(x)=x+1 ~ f(x)=x-1
    f(x)=ax+b ~ f(b)=ab+b
    {1,2} ~ {1,3}
    \text{none} ~ 0
    \emptyset ~ 0
    12:00 ~ 12
    |x|<3 ~ |x|\le 3
    (0,2) ~ |x|<2
    (0,2)\cup(2,\infty) ~ x>0, x \ne 3
    6 > |x-1| ~ |x|<6
    90\text{ km/h} ~ 25 m/s^2
    5 km ~ 5 m
    2:3 ~ 2:6
    0:1 ~ 0:2
    -3 ~ \sqrt[3]{27}
    f'(x)=2x ~ f(x)=2x
    1 2 ~ 3
    \frac{|x|}{x} ~ 1
    3 ~ 2.999999999
    6\text{ months} ~ six weeks
    a-b ~ ab
    A^T ~ A
    A^TB ~ AB
    \begin{cases}x & x>0\\-x & x<0\end{cases} ~ \begin{cases}x & x<0\\-x & x>0\end{cases}
    x=1,y=2 ~ \begin{cases}x=2\\y=1\end{cases}
    x-y ~ xy
    (p-q) ~ pq
    x>1, x<4 ~ x>1 \text{ or } x<4
    C ~ C) 5, D) 6
    123456789012345.0 ~ 999999999999999.0
"""


def pairs(table: str) -> list[tuple[str, ...]]:
    return [tuple(part.strip() for part in line.split("~")) for line in table.strip().splitlines()]


@pytest.mark.parametrize(("gold", "prediction"), pairs(SAME_INTEGERS))
def test_integers_equal(gold: str, prediction: str) -> None:
    assert same_integer(gold, prediction)


@pytest.mark.parametrize(("gold", "prediction"), [*pairs(OTHER_INTEGERS), ("7", "")])
def test_integers_differ(gold: str, prediction: str) -> None:
    assert not same_integer(gold, prediction)


@pytest.mark.parametrize(("gold", "prediction"), pairs(SAME))
def test_same_answers(gold: str, prediction: str) -> None:
    assert same_math(gold, prediction)


@pytest.mark.parametrize(("gold", "prediction"), [*pairs(OTHER), ("1", ""), ("", "")])
def test_different_answers(gold: str, prediction: str) -> None:
    """100 = 1 (percent rule), 1,2 = 12 (commas cut), 102018 = 102019 (relative tolerance): errors of graders in use."""
    assert not same_math(gold, prediction)
    assert not same_math(prediction, gold)


@pytest.mark.parametrize(("gold", "prediction"), [("1011_2", "1011"), (r"\ln 2", r"\log 2"), ("1.5", "1,5")])
def test_what_a_prediction_may_leave_to_the_question(gold: str, prediction: str) -> None:
    """A base left out, \\log for \\ln, a decimal comma: the other way round each would be a claim of its own."""
    assert same_math(gold, prediction)
    assert not same_math(prediction, gold)


def test_a_hanging_comparison_is_killed() -> None:
    """sympy expands this for hours. A handler in Python, or a limit by the clock of a busy machine, fails here."""
    worker = Worker(seconds=1.5)
    try:
        assert worker.equivalent("(w+x+y+z)^{300}", "(w+x+y+2z)^{300}") is False
        assert worker.timeouts == 1
        # A new process answers, also after a crash.
        worker.seconds = 30
        assert worker.equivalent("1/2", "0.5")
        assert worker._process is not None
        worker._process.kill()
        worker._process.wait()
        assert worker.equivalent("1/3", "2/6")
    finally:
        worker.close()


LARGE = [
    "9^{9^{9^9}}",
    "((5!)!)!",
    "\\left(10^{6}\\right)!",
    "e^{e^{e^{10}}}",
    "10^{-10^{10}}",
    "\\binom{10^9}{10^8}",
    "(2^{100})^{10^9}",
    "x^{10^{10}}",
    "\\frac{1}{9^{9^9}}",
    "7" * 300_000,
    "{" * 500 + "7" + "}" * 500,
]
WRITTEN_OUT = [
    "3^{2025}",
    "\\frac{1}{2004!}",
    "(2^{100})^{100}",
    "\\binom{200}{100}",
    "e^{-500}",
    "2^{n!}",
    "7" * 999,
    "(3!)!",
]


def test_numbers_too_large_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that computes while it reads never comes back: it has to be asked for none of these."""
    asked: list[str] = []
    monkeypatch.setattr("latex2sympy2_extended.latex2sympy", asked.append)
    assert [leaves.read.__wrapped__(formula) for formula in LARGE] == [None] * len(LARGE)
    assert asked == []
    assert [formula[:20] for formula in WRITTEN_OUT if too_large(formula)] == []


@pytest.mark.parametrize("formula", LARGE, ids=range(len(LARGE)))
def test_large_answers_have_a_verdict_without_a_timeout(formula: str) -> None:
    """Equal to themselves where they are answers at all, to another one never; nothing is killed for it."""
    worker = shared_worker()
    before = worker.timeouts
    assert accepts(formula, formula) == (len(formula) <= 2000)
    assert not accepts(formula, formula[:-1] + ("8" if formula[-1] == "7" else "+1}" if formula[-1] == "}" else "+1"))
    assert not accepts("7", formula)
    assert not same_math(formula, "x")
    assert worker.timeouts == before


@pytest.mark.parametrize(
    "text", ["7 + " * 12_500, "(" * 50_000, "7" * 1_000_000, "x^" * 25_000, "$" * 50_000], ids=range(5)
)
def test_an_answer_of_many_pages_is_none(text: str) -> None:
    """Neither compared nor spelled: the patterns that take an answer apart see 2,000 characters at most."""
    assert not accepts("7", text)
    assert not accepts(text, "7")
    assert load_grader("math")("x</think>\\boxed{" + text + "}", problem("7"))[1] is False


def test_grading_loads_no_mathematics_here() -> None:
    code = (
        "import sys; from cord_distill.grading import load_grader; from cord_distill.types import Problem; "
        "assert load_grader('math')('</think>\\\\boxed{0.5}', Problem('', '', '1/2')) == ('0.5', True); "
        "print([m for m in ('sympy', 'math_verify', 'latex2sympy2_extended', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert out.stdout.strip() == "[]"


def test_graders_by_name() -> None:
    assert load_grader("exact")("x</think> so \\boxed{ a  b }", problem("a b")) == ("a  b", True)
    assert load_grader("integer")("x</think>\\boxed{073}", problem("73")) == ("073", True)
    plug_in = load_grader("cord_distill.grading.extract:boxes")
    assert plug_in is boxes
    with pytest.raises(CordError, match="'maths' is no grader"):
        load_grader("maths")


def test_grade_file_names_bad_rows(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    with pytest.raises(CordError, match="is not there"):
        grade_file(file)
    file.write_text('{"gold": "1", "prediction": "1"}\n{"gold": "1"}\n')
    with pytest.raises(CordError, match=r"row 2: no column 'prediction'"):
        grade_file(file)


def test_grade_file_writes_one_verdict_per_row(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "gold": "1/2", "prediction": "so it is \\boxed{0.5}", "equal": True},
        {"id": "b", "gold": 5, "prediction": 5.0, "equal": True},
        {"id": "c", "gold": "10", "prediction": "1000", "equal": False},
        {"gold": "f(x)", "prediction": "f(y)", "params": {"strict": False}},
        {"gold": "2", "prediction": None},
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = grade_file(file, tmp_path / "out.jsonl")
    judged = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert judged == [
        {"id": "a", "accepted": True},
        {"id": "b", "accepted": True},
        {"id": "c", "accepted": False},
        {"id": 4, "accepted": True},
        {"id": 5, "accepted": False},
    ]
    assert (found["labelled"], found["agree"], found["false_accepts"], found["missed"]) == (3, 3, [], [])


def test_params_of_a_row_count() -> None:
    assert not accepts("$f(x)$", "$f(y)$", {"strict": True})
    assert accepts("$(\\frac{3}{5},\\frac{8}{3}]$", "$(0.6,2.67]$", {"precision": 2})
    assert not accepts("$(\\frac{3}{5},\\frac{8}{3}]$", "$(0.6,2.67]$")
    assert accepts("$x \\in [-2,7]$", "$-2 \\le x \\le 7$", {"allow_set_relation_comp": True})
    assert accepts("$[-2,7]$", "$-2 \\le x \\le 7$")
    assert not accepts("$[-2,7]$", "$-2 \\le x \\le 7$", {"allow_set_relation_comp": False})


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        ("ab+5", "5"),
        ("xy+2x", "2"),
        ("2RC+R+C", "2"),
        ("\\frac1s-\\frac1s e^{-sT}", "1"),
        ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}"),
        ("\\begin{pmatrix}1\\\\4\\end{pmatrix}", "4"),
        ("\\$32,\\!348", "\\$23,\\!348"),
        ("\\$18.90", "-\\$18.90"),
        ("12 ducks and 9 goats", "30 ducks and 9 goats"),
    ],
)
def test_a_formula_is_never_its_last_number(gold: str, prediction: str) -> None:
    """`cord grade` that takes adjacent letters or a $ for prose, and then the last number of it."""
    assert not accepts(gold, prediction)
    assert not accepts(prediction, gold)
    assert accepts(gold, gold)
    assert accepts(prediction, prediction)


def test_development_pairs(shared_data: Path) -> None:
    """No false accept but the disputed rows, 97 % of the equal pairs (93 % were asked for), no rule names a row."""
    found = grade_file(shared_data / "answer_equivalence" / "equivalence_dev.jsonl")
    assert set(found["false_accepts"]) <= set(DISPUTED)
    assert found["equal_accepted"] / found["equal_rows"] >= 0.97
    sources = Path(sys.modules["cord_distill.grading"].__file__).parent.glob("*.py")
    assert not any(re.search(r"#\d{2,3}\b|tinker|inspect_ai", path.read_text()) for path in sources)


def test_one_changed_digit_is_another_answer(shared_data: Path) -> None:
    """All 500 gold answers of MATH-500: equal to themselves however they are spelled, to nothing with another digit."""
    lines = (shared_data / "math500" / "math500.jsonl").read_text(encoding="utf-8").splitlines()
    golds = [json.loads(line)["answer"] for line in lines]
    stream = random.Random(0)
    for gold in golds:
        spaced = gold.replace("\\frac", "\\dfrac").replace("(", "( ").replace(" ", "  ")
        assert same_math(gold, f"${spaced}$"), gold
        digits = [m.start() for m in re.finditer(r"\d", gold)]
        if digits:
            i = stream.choice(digits)
            other = stream.choice([c for c in "123456789" if c != gold[i]])
            changed = gold[:i] + other + gold[i + 1 :]
            assert not same_math(gold, changed), (gold, changed)


def test_recorded_traces_with_other_tags(shared_data: Path) -> None:
    """Sky-T1's runs on MATH-500: 26 of 40 never closed their thought. What they boxed in it counts only when asked."""
    outside, inside = load_grader("math"), load_grader("math", answer_in_thought=True)
    lines = (shared_data / "traces" / "sky_t1_math500_40.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    texts = [re.sub(r"<\|end_of_thought\|>", "</think>", row["response"]) for row in rows]
    accepted = [outside(text, problem(row["answer"]))[1] for text, row in zip(texts, rows, strict=True)]
    assert sum(accepted) == 13
    assert all(row["score"] for row, right in zip(rows, accepted, strict=True) if right)
    assert sum("</think>" in text for text in texts) == 14
    assert sum(inside(text, problem(row["answer"]))[1] for text, row in zip(texts, rows, strict=True)) == 20


def test_recorded_traces(shared_data: Path) -> None:
    """Real traces of five models, judged end to end, against the verdicts that were recorded with them."""
    grade = load_grader("integer")
    agree = judged = 0
    for line in (shared_data / "traces" / "limo_multi_teacher_40x5.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        _, right = grade(row["response"].removeprefix("<think>"), problem(str(row["answer"])))
        if row["repo_verdict"] in ("pass", "fail"):
            judged += 1
            agree += right == (row["repo_verdict"] == "pass")
    assert agree == judged == 188


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.sampled_from(["7", "x", "\\frac12", ""]), lambda inner: st.builds("{{{}}}+{}".format, inner, inner)
    ),
    st.text(alphabet=st.sampled_from("}ab \n<>/$"), max_size=30),
)
def test_nested_braces_are_read_whole(content: str, before: str) -> None:
    """Whatever stands before it, stray closing braces too; an earlier box and a box of the thought change nothing."""
    text = f"\\boxed{{1}} {before}</think>\\boxed{{2}} no, wait. {before}\n\n\\boxed{{{content}}} done"
    assert boxes(text)[-1][2] == content
    assert answer_of(text) == (content.strip() or None)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("\\boxed{7} <think>answer is: 7.$\n"), max_size=120))
def test_an_unclosed_thought_has_no_answer(text: str) -> None:
    if "</think>" not in text:
        assert answer_of("<think>" + text) is None


def test_option_letters_that_are_said() -> None:
    """Only a box or "answer is" read; or any letter that is named: `Option A is wrong` is no choice."""
    gpqa = runpy.run_path(str(Path(__file__).parents[2] / "eval" / "gpqa.py"))["grade"]
    asked = Problem("p", "?", "D", {"choices": ["one", "two", "three", "four"]})
    for text in (
        "\\boxed{\\text{Option D}}",
        "The correct option is (D).",
        "The energy is $\\boxed{E = 3}$.\n\n**Answer: D**",
        "**D**",
        "So option D is correct. Option A is too small.",
        "\\boxed{four}",
    ):
        assert gpqa("x</think>" + text, asked) == ("D", True), text
    assert gpqa("x</think>Option A is wrong, D might be.", asked) == (None, False)
    assert gpqa("x</think>\\boxed{B}. D would be too large.", asked) == ("B", False)


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        (r"8\text{ h}", "8 hours"),
        (r"8\,\mathrm{s}", "8"),
        ("12", r"12\text{ N}"),
        ("7.5", "7.5 oz"),
        ("40", "40 yd"),
        (r"9\text{ ft}", "9 feet"),
        (r"2\text{ hours }5\text{ minutes}", r"2\text{ hr }5\text{ min}"),
        (r"30\text{ m/s}", r"30\ \mathrm{m}/\mathrm{s}"),
        ("250", "Rs. 250"),
    ],
)
def test_one_unit_has_many_spellings(gold: str, prediction: str) -> None:
    """Fails for a reader that takes \\text{s} for a variable, or compares units letter by letter."""
    assert same_math(gold, prediction)


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        (r"8\text{ h}", r"8\text{ min}"),
        (r"8\text{ m}", r"8\text{ mi}"),
        ("9 ft", "9 in"),
        ("1", "1 in 4"),
        ("24", "24m"),
        (r"2\text{ h }5\text{ min}", r"2\text{ h }50\text{ min}"),
        ("3", r"3\mathrm{e}"),
        ("2", r"2\mathrm{i}"),
    ],
)
def test_a_unit_is_no_loophole(gold: str, prediction: str) -> None:
    """Fails for a rule that drops any letters behind a number: other units, variables and odds stay different."""
    assert not same_math(gold, prediction)
