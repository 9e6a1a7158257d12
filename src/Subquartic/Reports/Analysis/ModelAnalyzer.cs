using System.Globalization;
using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Criteria;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Reports.Analysis;

/// <summary>Draws images and looks at every attention call: which heads meet the paper's criterion, which would gain from it at which n,
/// and what becomes of the images under approximate attention.</summary>
/// <remarks>
/// <para>Larger n. The last scale is thought to grow to n^2 queries, with as many keys per query as in the model's own schedule, and with
/// the queries and keys that were measured there: R, B and the certified half-range stay as they are. More tokens can only raise these
/// largest values, and the weights bound the scores of normalised attention whatever n is. So a verdict that fails is one that fails
/// already with the values measured, one that holds does so by the bound of the weights, and the rest is unknown.</para>
/// <para>Memory does not grow with the number of images, nor with pairs of tokens.</para>
/// </remarks>
public sealed class ModelAnalyzer : IDisposable
{
    // Multiply-adds of exact attention over all heads up to which an n is tried out: well under a minute of two cores.
    private const double Workable = 4e12;

    private readonly GenerationRequest _request;
    private readonly double _tolerance;
    private readonly VarConfig _config;
    private readonly ImageGenerator _generator;
    private readonly AttentionMeter _meter;
    private readonly IReadOnlyList<float>?[] _scoreBounds;
    private readonly double _side;
    private readonly double[] _sides;

    private readonly EnlargedMeter _enlarged;

    private ModelAnalyzer(
        ImageGenerator generator, GenerationRequest request, double tolerance, IReadOnlyList<int> sides, CancellationToken cancellation)
    {
        (_generator, _request, _tolerance, _config) = (generator, request, tolerance, generator.Transformer.Config);
        _scoreBounds = [.. generator.Transformer.Blocks.Select(block => block.Attention.ScoreBounds)];
        KernelSet kernels = generator.Transformer.Kernels;
        _side = Math.Sqrt(_config.Scales.Last.Tokens);
        _sides = [.. sides.Select(n => (double)n).Append(_side).Distinct().Order()];
        _enlarged = new EnlargedMeter(_config.Scales, [.. _sides.Where(IsWorkable)], tolerance, kernels, cancellation);
        _meter = new AttentionMeter(_config, generator.Autoencoder.Config.ResidualBlocks + 2, _scoreBounds, _enlarged, request.Sampling.Passes, kernels);
    }

    /// <summary>Analyses a model.</summary>
    /// <param name="files">The model; it may be closed afterwards.</param>
    /// <param name="name">What to call it.</param>
    /// <param name="request">What to draw.</param>
    /// <param name="tolerance">Largest error of an attention output, as a fraction of the range of V; above 0, below 1.</param>
    /// <param name="sides">Further n, each at least 2.</param>
    /// <param name="kernels">The kernels.</param>
    /// <param name="progress">Told what is being done and the share of the work that is done; may be null.</param>
    /// <param name="cancellation">Takes effect within one block of the transformer or layer of the decoder.</param>
    /// <returns>The analysis.</returns>
    /// <exception cref="CheckpointException">A tensor is missing or has another shape.</exception>
    /// <exception cref="ArithmeticException">A number in the model's run is not finite.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public static ModelAnalysis Analyze(
        ModelFiles files, string name, GenerationRequest request, double tolerance, IReadOnlyList<int> sides, KernelSet kernels,
        Action<string, double>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(files);
        ArgumentNullException.ThrowIfNull(request);
        var exact = new ExactAttention(kernels);
        var attention = new ReplaceableAttention(exact);
        // One image at a time: the order of the calls then says which layer and scale each is.
        using ImageGenerator generator = ImageGenerator.Load(
            files, new GeneratorOptions { Kernels = kernels, Attention = _ => attention, MaxBatch = 1 });
        using var analyzer = new ModelAnalyzer(generator, request, tolerance, sides, cancellation);
        attention.Current = new ProbedAttention(exact, analyzer._meter.Observe);
        using var lowRank = new LowRankAttention(kernels, tolerance);
        using var certified = new CertifiedAttention(kernels, tolerance);
        IReadOnlyList<GeneratedImage> images = Draw("Measuring", 0, 0.4);
        var pictures = new List<AnalyzedImages> { new(exact.Name, [.. images.Select(image => image.Image)]) };
        AgreementRun[] agreement = [Compare(lowRank, lowRank.Name, 0.4), Compare(certified, certified.Name, 0.7)];
        return analyzer.Report(name, files, agreement) with { Images = pictures };

        AgreementRun Compare(IAttention strategy, string label, double done)
        {
            using var judged = new JudgedAttention(strategy);
            attention.Current = judged;
            IReadOnlyList<GeneratedImage> again = Draw($"Comparing {strategy.Name} attention", done, 0.3);
            pictures.Add(new AnalyzedImages(label, [.. again.Select(image => image.Image)]));
            return Agreement(label, judged, images, again);
        }

        IReadOnlyList<GeneratedImage> Draw(string what, double done, double share) => generator.Generate(
            request, result => progress?.Invoke($"{what}: image {result.FirstImage + 1} of {request.Labels.Count}", done + (share * result.Progress)),
            cancellation).Images;
    }

    private static AgreementRun Agreement(
        string label, JudgedAttention judged, IReadOnlyList<GeneratedImage> expected, IReadOnlyList<GeneratedImage> images)
    {
        long[] identical = [.. expected.Zip(images, (a, b) => (long)a.Tokens.Zip(b.Tokens).Count(pair => pair.First == pair.Second))];
        CertificateSummary summary = judged.Summary;
        return new AgreementRun(
            label, expected.Sum(image => (long)image.Tokens.Count), identical.Sum(),
            identical.Where((count, i) => count == expected[i].Tokens.Count).Count(),
            summary.Heads, summary.Heads - summary.ExactHeads, summary.Rows, summary.Rows - summary.ExactRows,
            summary.Calls, judged.BoundsHeld, judged.LargestBound, judged.LargestError, judged.Tightest);
    }

    /// <inheritdoc/>
    public void Dispose() => _enlarged.Dispose();

    /// <summary>Whether the strategies are tried out at an n: not below the model's own, and while exact attention there is not too long.</summary>
    private bool IsWorkable(double side)
    {
        double queries = side * side, keys = queries * _config.Scales.Tokens / _config.Scales.Last.Tokens;
        return side == _side || (side > _side && _config.Depth * _config.Heads * AttentionCost.Exact(queries, keys, _config.HeadWidth, _config.HeadWidth) <= Workable);
    }

    private ModelAnalysis Report(string name, ModelFiles files, IReadOnlyList<AgreementRun> agreement)
    {
        double side = _side;
        int heads = _config.Heads;
        HeadAnalysis[] measured =
        [
            .. _meter.Heads.Select((meter, i) => Head(
                meter, i / heads % _config.Depth, i % heads, i / heads / _config.Depth, _scoreBounds[i / heads % _config.Depth]?[i % heads], side)),
        ];
        HeadAnalysis[] last = measured[^(_config.Depth * heads)..];
        return new ModelAnalysis(
            new AnalyzedModel(
                name, files.Note, _config.Depth, heads, _config.HeadWidth, _config.AttentionL2Norm, _config.Scales.ToString(), side,
                _config.Scales.Tokens, NominalCriterion.EntryLimit(side), NominalCriterion.ScoreLimit(side)),
            new AnalyzedRun(_request.Labels.Count, [.. _request.Labels.Distinct().Select(ClassName)], _request.Seed, _request.Guidance.Values[^1], _tolerance),
            measured,
            [.. _meter.Decoder.Select((meter, i) => Head(meter, i, 0, _config.Scales.Count - 1, null, side))],
            [.. Enumerable.Range(0, _config.Depth + _meter.Decoder.Length).Select(layer => new LayerHistogram(
                layer, layer >= _config.Depth, BinCounts.Of(_meter.Entries(layer)), BinCounts.Of(_meter.Scores(layer))))],
            [.. _sides.Select(n => AtSize(n, n != side, last))], _enlarged.Runs, agreement);

        string ClassName(int label) => label == _config.Classes ? "none"
            : files.ClassNames is { } names ? names[label] : label.ToString(CultureInfo.InvariantCulture);
    }

    private HeadAnalysis Head(HeadMeter meter, int layer, int head, int scale, double? scoreBound, double side)
    {
        double entry = NominalCriterion.BalancedEntry(meter.Width, meter.Scale, meter.LargestQuery, meter.LargestKey);
        double least = Math.Min(meter.Score, Math.Min(meter.KeyCentredScore, meter.CentredScore));
        FiniteCriterion criterion = Polynomial(meter, scoreBound);
        return new HeadAnalysis(
            layer, head, scale, meter.Queries, meter.Keys, meter.Width, scoreBound, meter.LargestQuery, meter.LargestKey, meter.LargestValue,
            entry, meter.Score, meter.KeyCentredScore, meter.CentredScore, meter.RowHalfRange, meter.CertifiedHalfRange, meter.KeyRank,
            meter.Entropy, NominalCriterion.Decide(EntryBound(meter, scoreBound), entry, NominalCriterion.EntryLimit(side)),
            NominalCriterion.Decide(scoreBound, least, NominalCriterion.ScoreLimit(side)),
            new FiniteHead(
                FiniteVerdict(meter, scoreBound, meter.Queries, meter.Keys), criterion.HalfRange, criterion.Degree, criterion.Features,
                criterion.OutputError, criterion.Exact(meter.Queries, meter.Keys),
                criterion.Features is null ? null : criterion.LowRank(meter.Queries, meter.Keys),
                criterion.BreakEvenSide((double)meter.Keys / meter.Queries)));
    }

    private SizeAnalysis AtSize(double side, bool extrapolated, HeadAnalysis[] last)
    {
        double queries = side * side;
        double keys = queries * _config.Scales.Tokens / _config.Scales.Last.Tokens;
        double entryLimit = NominalCriterion.EntryLimit(side), scoreLimit = NominalCriterion.ScoreLimit(side);
        double exact = 0, mixed = 0;
        var heads = new List<HeadAtSize>();
        for (int i = 0; i < last.Length; i++)
        {
            HeadAnalysis head = last[i];
            HeadMeter meter = _meter.Heads[^(last.Length - i)];
            FiniteCriterion criterion = Polynomial(meter, head.ScoreBound);
            Verdict finite = FiniteVerdict(meter, head.ScoreBound, queries, keys);
            double alone = criterion.Exact(queries, keys), low = criterion.LowRank(queries, keys);
            exact += alone;
            mixed += finite == Verdict.Fails ? alone : low;
            heads.Add(new HeadAtSize(
                head.Layer, head.Head, NominalCriterion.Decide(EntryBound(meter, head.ScoreBound), head.Entry, entryLimit),
                NominalCriterion.Decide(head.ScoreBound, head.LeastScore, scoreLimit), finite, alone / low));
        }

        return new SizeAnalysis(
            side, extrapolated, queries, keys, entryLimit, scoreLimit, VerdictCounts.Of(heads.Select(head => head.EntryVerdict)),
            VerdictCounts.Of(heads.Select(head => head.ScoreVerdict)), VerdictCounts.Of(heads.Select(head => head.FiniteVerdict)), exact, mixed, heads);
    }

    /// <summary>The polynomial for the scores that were certified.</summary>
    private FiniteCriterion Polynomial(HeadMeter meter, double? scoreBound) => FiniteCriterion.For(
        Math.Min(FiniteCriterion.RoundUp(meter.CertifiedHalfRange), scoreBound ?? double.PositiveInfinity), meter.Width, meter.ValueWidth, _tolerance);

    private Verdict FiniteVerdict(HeadMeter meter, double? scoreBound, double queries, double keys) =>
        !Polynomial(meter, scoreBound).IsCheaper(queries, keys) ? Verdict.Fails
        : scoreBound is { } bound && FiniteCriterion.For(bound, meter.Width, meter.ValueWidth, _tolerance).IsCheaper(queries, keys) ? Verdict.Holds
        : Verdict.Unknown;

    /// <summary>Entries of a normalised key are at most 1 and of its query at most the learned factor; both are balanced.</summary>
    private static double? EntryBound(HeadMeter meter, double? scoreBound) =>
        scoreBound is { } bound ? NominalCriterion.BalancedEntry(meter.Width, meter.Scale, bound, 1) : null;
}
