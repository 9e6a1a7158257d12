using System.Globalization;
using Subquartic.Criteria;
using static Subquartic.Reports.Analysis.Page;

namespace Subquartic.Reports.Analysis;

/// <summary>Sentences and tables of an analysis, the same on the page and in Markdown.</summary>
internal static class AnalysisWords
{
    public const string Maps =
        "Rows are layers, columns heads, one map for each scale. Blue is the side on which fast attention is promised (scores, entries) or already "
        + "cheaper (polynomial), red the other.";

    public const string Steps =
        "B is what decides, and softmax leaves it free: keys may move by any vector, queries too if every key then gets a weight. Each thin line is a head of the "
        + "last scale, the blue line their median. The last step is what can be proved from lengths and boxes alone, without looking at every score: "
        + "an algorithm can rely on that only.";

    public const string Sizes =
        "The model's own n is measured. Larger n are extrapolated: n² queries, as many keys for each as in the model's own schedule, and the entries and scores "
        + "measured at its last scale. More tokens can only raise these largest values, so a head that fails with them fails; one holds only where the weights bound its scores "
        + "for every input; all others are unknown.";

    public const string Decoder = "The attention blocks of the VQ-VAE's decoder see all tokens of the last map in one head as wide as the map has channels. Their scores are not bounded by the weights.";

    public static readonly string[] SizeHead =
        ["n", "queries", "keys", "sqrt(log n)", "R: holds/unknown/fails", "log n", "B: holds/unknown/fails", "polynomial: holds/unknown/fails", "exact multiply-adds", "with polynomials where not refuted", "ratio"];

    public static readonly string[] OperatorHead =
        ["strategy", "n", "rows approximated", "heads with less work", "work of all heads / exact", "least of a head", "median of the heads", "last reason for an exact head"];

    public static readonly string[] AgreementHead =
        ["strategy", "tokens identical", "images identical", "heads approximated", "rows approximated", "bound held", "largest bound / range of V", "largest error / range of V", "error / bound at most"];

    public static readonly string[] HeadHead =
        ["", "a priori", "R", "B", "keys moved", "queries too", "row half-range", "provable", "key rank", "entropy", "R", "B", "polynomial", "degree", "features", "error", "multiply-adds / exact", "from n ="];

    public static readonly (string Name, string Meaning)[] Terms =
    [
        ("R", "largest entry of Q and K once both are balanced and scores are written as q.k/d, as the paper does: sqrt(d scale max|Q| max|K|)."),
        ("B", "largest absolute score; where nothing else is said, the least of the three before and after the exact moves."),
        ("Provable", "for each query the smaller of sum|q_l| max|k_l| and |q| max|k| after both moves, largest over the queries."),
        ("A priori", "the learned factor of normalised attention: no score can exceed it, whatever is drawn."),
        ("Nominal", "on which side of R = sqrt(log n) and B = log n (natural logarithm) a head stands. The theorems are about growth, o(·) against Θ(·), which no single model decides; the line is drawn with constant 1."),
        ("Polynomial (finite)", "the polynomial of least degree whose certified error keeps every output within the tolerance for |score| ≤ B; C(d + degree, degree) features; cheaper when (L + S) r (d + 2) is below 2 L S d multiply-adds. It serves all rows of a head on all images; the strategies go call by call and row by row, and may gain where it does not."),
        ("Holds / unknown / fails", "proved from the weights for every input / met on all images drawn, without proof / refuted by what was drawn."),
        ("Entropy", "of the weights of a query, over that of equal weights, mean."),
        ("Key rank", "(Σλ)²/Σλ² of the eigenvalues of the keys' covariance, mean over images: how many directions the keys use."),
    ];

    public static IEnumerable<string> Lead(ModelAnalysis analysis)
    {
        AnalyzedModel model = analysis.Model;
        SizeAnalysis own = Own(analysis);
        int heads = model.Depth * model.Heads;
        double[] sides = [.. AnalysisPictures.Last(analysis).Select(head => head.Finite.BreakEvenSide ?? double.PositiveInfinity)];
        yield return string.Create(
            CultureInfo.InvariantCulture,
            $"At its last scale (n = {Number(model.Side)}) this model has {heads} heads of width {model.HeadWidth}. Scores are below log n = {Number(model.ScoreLimit)} in {own.Score.Holds} of them for every input and in {own.Score.Unknown} more on all images drawn; {own.Score.Fails} exceed it.")
            + $" One polynomial within {Number(analysis.Run.Tolerance)} is cheaper than exact attention in {own.Finite.Holds + own.Finite.Unknown} heads"
            + $" and begins to be at {Break(AnalysisPictures.Median(sides))} for the median head, {Break(sides.Min())} for the best.";
        if (model.Note is { } note)
        {
            yield return $"Note of the model: {note}.";
        }

        static string Break(double side) => double.IsInfinity(side) ? "no n" : $"n = {Math.Ceiling(side).ToString("0", CultureInfo.InvariantCulture)}";
    }

    public static IEnumerable<(string Figure, string Words, string? Verdict)> Tiles(ModelAnalysis analysis)
    {
        SizeAnalysis own = Own(analysis);
        double heads = analysis.Model.Depth * analysis.Model.Heads;
        yield return (Percent((own.Score.Holds + own.Score.Unknown) / heads), "of the heads have scores below log n, the line that decides", Colour(own.Score));
        yield return (Percent((own.Entry.Holds + own.Entry.Unknown) / heads), "have entries below sqrt(log n), the paper's own condition", Colour(own.Entry));
        yield return (Percent((own.Finite.Holds + own.Finite.Unknown) / heads), $"are cheaper by one polynomial at n = {Number(own.Side)}", Colour(own.Finite));
        AgreementRun most = analysis.Agreement.MaxBy(run => run.FastRows)!;
        if (most.FastRows > 0)
        {
            yield return (
                Percent((double)most.IdenticalTokens / most.Tokens),
                $"of {Number(most.Tokens)} tokens are the same when {Percent((double)most.FastRows / most.Rows)} of the rows of attention are approximated", null);
        }

        static string Colour(VerdictCounts counts) => counts.Fails > 0 ? "fails" : counts.Unknown > 0 ? "unknown" : "holds";
    }

    public static string Phases(ModelAnalysis analysis) =>
        $"Each dot is a head of the last scale, at its measured B; the line above it ends at the bound that can be proved cheaply. Below the dashed line the theorem may hope for n^(2+o(1)). In the shaded region one polynomial of the score within {Number(analysis.Run.Tolerance)} costs fewer multiply-adds than exact attention "
        + $"(heads of width {analysis.Model.HeadWidth}; degrees from the estimate of the error). A head keeps its height and moves right as n grows.";

    public static string Histograms(ModelAnalysis analysis) =>
        "All heads, scales and images of a layer; heights are logarithmic. Left the entries of Q and K in the paper's form with ±sqrt(log n) = ±"
        + $"{Number(analysis.Model.EntryLimit)}, right the scores after both moves with ±log n = ±{Number(analysis.Model.ScoreLimit)}.";

    public static string Operators(ModelAnalysis analysis) =>
        "Certified and audited attention, run on every head of the last scale of the first image, and on the same maps of queries, keys and values enlarged to n by cubic interpolation"
        + (analysis.Model.Normalised ? ", rows brought back to their length" : "") + ". Nothing is added to the maps, so a real model of that size would be rougher and gain less. "
        + $"Certified outputs stay within {Number(analysis.Run.Tolerance)} of the range of V, or are exact; audited ones have no bound, only rows of each head that were drawn at random and computed exactly. Work counts trials that came to nothing; its inverse is the speed-up to expect.";

    public static IEnumerable<IGrouping<(string Strategy, double Side), OperatorRun>> ByOperator(ModelAnalysis analysis) =>
        analysis.Operators.GroupBy(run => (run.Strategy, run.Side)).OrderByDescending(runs => runs.Key.Strategy, StringComparer.Ordinal).ThenBy(runs => runs.Key.Side);

    public static IEnumerable<IEnumerable<object>> OperatorRows(ModelAnalysis analysis) => ByOperator(analysis).Select(runs => new object[]
    {
        runs.Key.Strategy, Number(runs.Key.Side), Percent(runs.Average(run => run.FastRows)),
        string.Create(CultureInfo.InvariantCulture, $"{runs.Count(run => run.Work < 0.95)} of {runs.Count()}"), Number(runs.Average(run => run.Work)),
        Number(runs.Min(run => run.Work)), Number(AnalysisPictures.Median(runs.Select(run => run.Work))),
        runs.LastOrDefault(run => run.FastRows == 0)?.Reason ?? "",
    });

    public static string Agreement(ModelAnalysis analysis) =>
        $"The same seed, drawn again with another attention strategy in transformer and decoder, tolerance {Number(analysis.Run.Tolerance)} of the range of V. Every call is compared with the judge in double precision, and the difference with the bound of its certificate. A token that differs changes all that follow it in its image.";

    public static IEnumerable<IEnumerable<object>> SizeRows(ModelAnalysis analysis) => analysis.Sizes.Select(size => new object[]
    {
        Number(size.Side) + (size.Extrapolated ? "" : ", measured"), Number(size.Queries), Number(size.Keys), Number(size.EntryLimit), Counts(size.Entry),
        Number(size.ScoreLimit), Counts(size.Score), Counts(size.Finite), Number(size.Exact), Number(size.Mixed), Number(size.Mixed / size.Exact),
    });

    public static IEnumerable<IEnumerable<object>> AgreementRows(ModelAnalysis analysis) => analysis.Agreement.Select(run => new object[]
    {
        run.Strategy, $"{Percent((double)run.IdenticalTokens / run.Tokens)} of {Number(run.Tokens)}",
        string.Create(CultureInfo.InvariantCulture, $"{run.IdenticalImages} of {analysis.Run.Images}"),
        $"{Number(run.FastHeads)} of {Number(run.Heads)}", $"{Number(run.FastRows)} of {Number(run.Rows)}", $"{Number(run.BoundsHeld)} of {Number(run.Calls)} calls",
        Number(run.LargestBound), Number(run.LargestError), run.FastRows == 0 ? "" : Number(run.Tightest),
    });

    public static IEnumerable<object> HeadRow(HeadAnalysis head, string name)
    {
        FiniteHead finite = head.Finite;
        return
        [
            name, head.ScoreBound is { } bound ? Number(bound) : "", Number(head.Entry), Number(head.Score), Number(head.KeyCentredScore), Number(head.CentredScore),
            Number(head.RowHalfRange), Number(head.CertifiedHalfRange), Number(head.KeyRank), Number(head.Entropy), Word(head.EntryVerdict), Word(head.ScoreVerdict),
            Word(finite.Verdict), finite.Degree is { } degree ? Number(degree) : "none", finite.Features is { } features ? Number(features) : "",
            finite.OutputError is { } error ? Number(error) : "", finite.LowRank is { } low ? Number(low / finite.Exact) : "",
            finite.BreakEvenSide is { } side ? Number(Math.Ceiling(side)) : "",
        ];
    }

    public static IEnumerable<string> Method(ModelAnalysis analysis)
    {
        AnalyzedRun run = analysis.Run;
        yield return string.Create(
            CultureInfo.InvariantCulture,
            $"{run.Images} images of {(run.Classes.Count <= 20 ? $"the classes {string.Join(", ", run.Classes)}" : $"{run.Classes.Count} classes")}, seed {run.Seed}, guidance {run.Guidance}{(run.Guidance != 0 ? " (each is measured with and without its class)" : "")}, scales {analysis.Model.Scales}. Every attention call is seen as it happens; largest values and means are over all of them.");
        yield return "Scores are computed block by block in float32; they are measurements, not bounds. The certified error of a polynomial is proved; rounding comes on top of it and is part of the certificate that a run returns.";
    }

    public static SizeAnalysis Own(ModelAnalysis analysis) => analysis.Sizes.Single(size => !size.Extrapolated);

    private static string Word(Verdict verdict) => verdict switch { Verdict.Holds => "holds", Verdict.Fails => "fails", _ => "unknown" };

    private static string Counts(VerdictCounts counts) => string.Create(CultureInfo.InvariantCulture, $"{counts.Holds} / {counts.Unknown} / {counts.Fails}");
}
