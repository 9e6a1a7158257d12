using System.Text.Json.Serialization;
using Subquartic.Criteria;
using Subquartic.Imaging;

namespace Subquartic.Reports.Analysis;

/// <summary>What a model's attention is like, and what fast attention could do with it: the result of <see cref="ModelAnalyzer"/>.</summary>
/// <param name="Model">The model.</param>
/// <param name="Run">What was drawn to measure it.</param>
/// <param name="Heads">Every head of the transformer at every scale, by scale, layer and head.</param>
/// <param name="Decoder">The attention blocks of the VQ-VAE's decoder, one head each, over the last token map.</param>
/// <param name="Histograms">Layer by layer, the decoder's blocks last.</param>
/// <param name="Sizes">Verdicts for the last scale at the model's own n and at the others asked for, rising.</param>
/// <param name="Operators">The strategies at work on the heads of the first image's last scale, as it is and enlarged.</param>
/// <param name="Agreement">The same images drawn with approximate attention, against exact.</param>
public sealed record ModelAnalysis(
    AnalyzedModel Model, AnalyzedRun Run, IReadOnlyList<HeadAnalysis> Heads, IReadOnlyList<HeadAnalysis> Decoder,
    IReadOnlyList<LayerHistogram> Histograms, IReadOnlyList<SizeAnalysis> Sizes, IReadOnlyList<OperatorRun> Operators,
    IReadOnlyList<AgreementRun> Agreement)
{
    /// <summary>The images that were measured, and those of each <see cref="Agreement"/>; not part of the JSON document.</summary>
    [JsonIgnore]
    public IReadOnlyList<AnalyzedImages> Images { get; init; } = [];
}

/// <summary>Images drawn with one strategy.</summary>
/// <param name="Strategy">Name of the strategy.</param>
/// <param name="Images">In the order of the request.</param>
public sealed record AnalyzedImages(string Strategy, IReadOnlyList<RgbImage> Images);

/// <summary>Sizes of the model.</summary>
/// <param name="Name">What to call it.</param>
/// <param name="Note">What its author says about it, or null.</param>
/// <param name="Depth">Layers.</param>
/// <param name="Heads">Heads of a layer.</param>
/// <param name="HeadWidth">d.</param>
/// <param name="Normalised">Whether queries and keys have fixed lengths, so that scores are bounded by the weights.</param>
/// <param name="Scales">Sides of the token maps.</param>
/// <param name="Side">n, side of the last one (of a square as large, where it is none).</param>
/// <param name="Tokens">L_K, tokens of all scales.</param>
/// <param name="EntryLimit">sqrt(log n).</param>
/// <param name="ScoreLimit">log n.</param>
public sealed record AnalyzedModel(
    string Name, string? Note, int Depth, int Heads, int HeadWidth, bool Normalised, string Scales, double Side, int Tokens,
    double EntryLimit, double ScoreLimit);

/// <summary>What was drawn.</summary>
/// <param name="Images">Number of images.</param>
/// <param name="Classes">Their classes, each once, by name where they have one.</param>
/// <param name="Seed">Seed of the random numbers.</param>
/// <param name="Guidance">Strength of the guidance; with it every image is measured with and without its class.</param>
/// <param name="Tolerance">Largest error of an attention output, as a fraction of the range of V.</param>
public sealed record AnalyzedRun(int Images, IReadOnlyList<string> Classes, ulong Seed, float Guidance, double Tolerance);

/// <summary>One head at one scale; largest values and means are over all images.</summary>
/// <param name="Layer">Index of the layer, or of the decoder's block.</param>
/// <param name="Head">Index of the head.</param>
/// <param name="Scale">Index of the scale.</param>
/// <param name="Queries">L.</param>
/// <param name="Keys">S.</param>
/// <param name="Width">d, width of queries and keys.</param>
/// <param name="ScoreBound">A priori: |score| never exceeds it but for rounding, from the weights alone; null where they say nothing.</param>
/// <param name="LargestQuery">max |Q|, as the model has it.</param>
/// <param name="LargestKey">max |K|.</param>
/// <param name="LargestValue">max |V|.</param>
/// <param name="Entry">R = <see cref="NominalCriterion.BalancedEntry"/>.</param>
/// <param name="Score">B before any move: max |score|.</param>
/// <param name="KeyCentredScore">B once the keys are moved by the middle of their range.</param>
/// <param name="CentredScore">B once the queries are moved by their mean too.</param>
/// <param name="RowHalfRange">Largest half of a row's own range of scores.</param>
/// <param name="CertifiedHalfRange">What can be proved of <paramref name="CentredScore"/> from norms and boxes in O(L + S).</param>
/// <param name="KeyRank">Effective rank of the centred keys, (sum lambda)^2 / sum lambda^2 of their covariance; mean.</param>
/// <param name="Entropy">Entropy of the weights of a row as a share of log S; mean.</param>
/// <param name="EntryVerdict">Nominal: R below sqrt(log n).</param>
/// <param name="ScoreVerdict">Nominal: B below log n, for the smallest of the three B.</param>
/// <param name="Finite">One polynomial for the head, at this scale.</param>
public sealed record HeadAnalysis(
    int Layer, int Head, int Scale, int Queries, int Keys, int Width, double? ScoreBound, double LargestQuery, double LargestKey,
    double LargestValue, double Entry, double Score, double KeyCentredScore, double CentredScore, double RowHalfRange,
    double CertifiedHalfRange, double KeyRank, double Entropy, Verdict EntryVerdict, Verdict ScoreVerdict, FiniteHead Finite)
{
    /// <summary>Smallest of the three B: what the exact moves leave.</summary>
    public double LeastScore => Math.Min(Score, Math.Min(KeyCentredScore, CentredScore));
}

/// <summary>One polynomial for all scores of a head: is it cheaper than exact attention?</summary>
/// <param name="Verdict">Holds when it is for every input, by <see cref="HeadAnalysis.ScoreBound"/>; fails when it is not for the scores seen.</param>
/// <param name="HalfRange">B of the polynomial: what was certified, rounded up, or the bound of the weights where that is less.</param>
/// <param name="Degree">g, or null where no polynomial reaches the tolerance.</param>
/// <param name="Features">r.</param>
/// <param name="OutputError">Certified error, as a fraction of the range of V, rounding aside.</param>
/// <param name="Exact">Multiply-adds of exact attention.</param>
/// <param name="LowRank">Multiply-adds with the polynomial.</param>
/// <param name="BreakEvenSide">n from which the polynomial is cheaper, if scores stay as they are.</param>
public sealed record FiniteHead(
    Verdict Verdict, double HalfRange, int? Degree, double? Features, double? OutputError, double Exact, double? LowRank, double? BreakEvenSide);

/// <summary>Histograms of a layer over all heads, scales and images.</summary>
/// <param name="Layer">Index of the layer, counting on into the decoder's blocks.</param>
/// <param name="Decoder">Whether it is one of those.</param>
/// <param name="Entries">Entries of Q and K, in the paper's form and balanced.</param>
/// <param name="Scores">Scores after both centrings.</param>
public sealed record LayerHistogram(int Layer, bool Decoder, BinCounts Entries, BinCounts Scores);

/// <summary>Counts in equal bins on both sides of zero, as many on each.</summary>
/// <param name="BinWidth">Width of a bin.</param>
/// <param name="Counts">Falling values first to rising.</param>
public sealed record BinCounts(double BinWidth, IReadOnlyList<long> Counts)
{
    internal static BinCounts Of(Histogram histogram) => new(histogram.BinWidth, [.. histogram.Counts]);
}

/// <summary>How many heads a criterion counts as what.</summary>
/// <param name="Holds">Shown for every input.</param>
/// <param name="Unknown">Met on all images, without proof.</param>
/// <param name="Fails">Refuted.</param>
public sealed record VerdictCounts(int Holds, int Unknown, int Fails)
{
    internal static VerdictCounts Of(IEnumerable<Verdict> verdicts)
    {
        Verdict[] all = [.. verdicts];
        return new VerdictCounts(all.Count(v => v == Verdict.Holds), all.Count(v => v == Verdict.Unknown), all.Count(v => v == Verdict.Fails));
    }
}

/// <summary>The last scale at one n.</summary>
/// <param name="Side">n.</param>
/// <param name="Extrapolated">False for the model's own n, where all was measured.</param>
/// <param name="Queries">n^2.</param>
/// <param name="Keys">As many per query as in the model's own schedule.</param>
/// <param name="EntryLimit">sqrt(log n).</param>
/// <param name="ScoreLimit">log n.</param>
/// <param name="Entry">Nominal verdicts on R.</param>
/// <param name="Score">Nominal verdicts on B.</param>
/// <param name="Finite">Finite verdicts.</param>
/// <param name="Exact">Multiply-adds of all heads, exactly.</param>
/// <param name="Mixed">The same with polynomials in the heads whose finite verdict does not fail.</param>
/// <param name="Heads">By layer and head.</param>
public sealed record SizeAnalysis(
    double Side, bool Extrapolated, double Queries, double Keys, double EntryLimit, double ScoreLimit, VerdictCounts Entry, VerdictCounts Score,
    VerdictCounts Finite, double Exact, double Mixed, IReadOnlyList<HeadAtSize> Heads);

/// <summary>A head of the last scale at one n.</summary>
/// <param name="Layer">Index of the layer.</param>
/// <param name="Head">Index of the head.</param>
/// <param name="EntryVerdict">Nominal: R below sqrt(log n).</param>
/// <param name="ScoreVerdict">Nominal: B below log n.</param>
/// <param name="FiniteVerdict">Whether one polynomial is cheaper.</param>
/// <param name="Gain">Multiply-adds of exact attention over those of the polynomial; 0 where there is none.</param>
public sealed record HeadAtSize(int Layer, int Head, Verdict EntryVerdict, Verdict ScoreVerdict, Verdict FiniteVerdict, double Gain);

/// <summary>A strategy at work on one head of the last scale: the third verdict, found by doing it.</summary>
/// <param name="Strategy">Name of the strategy.</param>
/// <param name="Side">n.</param>
/// <param name="Enlarged">Whether the maps of queries, keys and values were enlarged; false at the model's own n.</param>
/// <param name="Layer">Index of the layer.</param>
/// <param name="Head">Index of the head.</param>
/// <param name="FastRows">Share of the rows that were approximated, within the tolerance by proof (certified) or by audit (audited).</param>
/// <param name="Work">Multiply-adds over those of exact attention, trials included. The predicted speed-up is its inverse.</param>
/// <param name="Reason">What the strategy says about it.</param>
public sealed record OperatorRun(string Strategy, double Side, bool Enlarged, int Layer, int Head, double FastRows, double Work, string Reason);

/// <summary>The images of the analysis, drawn again with another strategy from the same seed.</summary>
/// <param name="Strategy">Name of the strategy.</param>
/// <param name="Tokens">Tokens of all images.</param>
/// <param name="IdenticalTokens">Those that came out as under exact attention.</param>
/// <param name="IdenticalImages">Images all of whose tokens did.</param>
/// <param name="Heads">Heads of all calls.</param>
/// <param name="FastHeads">Those that were approximated, in whole or but for some rows.</param>
/// <param name="Rows">Queries of all heads.</param>
/// <param name="FastRows">Those that were approximated.</param>
/// <param name="Calls">Attention calls, each compared with the judge in double precision.</param>
/// <param name="BoundsHeld">Calls whose largest error is within the bound of their certificate.</param>
/// <param name="LargestBound">Largest certified error, as a fraction of the largest range of V in its call.</param>
/// <param name="LargestError">Largest error measured, as such a fraction.</param>
/// <param name="Tightest">Largest measured error over its bound, among calls with approximated rows; 0 without such.</param>
public sealed record AgreementRun(
    string Strategy, long Tokens, long IdenticalTokens, int IdenticalImages, long Heads, long FastHeads, long Rows, long FastRows,
    long Calls, long BoundsHeld, double LargestBound, double LargestError, double Tightest);
