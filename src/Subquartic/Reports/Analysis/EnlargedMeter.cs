using Subquartic.Attention;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports.Analysis;

/// <summary>Runs the strategies themselves on the heads of one image's last scale, as it is and with its token maps enlarged.</summary>
/// <remarks>Maps of queries, keys and values are enlarged by cubic interpolation, as the model enlarges its own (Phi_k of Ke et al.), each scale
/// by the same factor; rows of normalised attention are brought back to their length. No detail is added, so a model of that size would be
/// rougher: what comes out is the best case.</remarks>
/// <param name="scales">The model's own token maps.</param>
/// <param name="sides">The n to look at.</param>
/// <param name="tolerance">Largest error, as a fraction of the range of V.</param>
/// <param name="kernels">The kernels.</param>
/// <param name="cancellation">Takes effect between heads.</param>
internal sealed class EnlargedMeter(ScaleSchedule scales, IReadOnlyList<double> sides, double tolerance, KernelSet kernels, CancellationToken cancellation) : IDisposable
{
    private readonly CertifiedAttention _certified = new(kernels, tolerance, new Lazy<CertifiedCosts>(CertifiedCosts.WithoutIntegers));
    private readonly AuditedAttention _audited = new(kernels, tolerance, costs: new Lazy<CertifiedCosts>(CertifiedCosts.WithoutIntegers));
    private readonly List<OperatorRun> _runs = [];

    /// <summary>What was found, by layer, head and n.</summary>
    public IReadOnlyList<OperatorRun> Runs => _runs;

    /// <summary>Looks at the heads of a layer.</summary>
    /// <param name="layer">Index of the layer.</param>
    /// <param name="input">Its call at the last scale; the first image counts.</param>
    /// <param name="lengths">Per head, the length of its queries; null where they have none. Keys then have length 1.</param>
    public void Measure(int layer, in AttentionInput input, IReadOnlyList<float>? lengths)
    {
        double own = Math.Sqrt(scales.Last.Tokens);
        foreach (double side in sides)
        {
            ScaleSchedule maps = Enlarged(side / own);
            int width = input.Keys.Width, valueWidth = input.Values.Width, queries = maps.Last.Tokens;
            using var memory = new FloatBuffer(((long)(queries + maps.Tokens) * width) + ((long)(queries + maps.Tokens) * valueWidth));
            Matrix q = memory.Matrix(queries, width), k = memory.Matrix(maps.Tokens, width, (long)queries * width);
            Matrix v = memory.Matrix(maps.Tokens, valueWidth, (long)(queries + maps.Tokens) * width);
            Matrix output = memory.Matrix(queries, valueWidth, v.Offset + ((long)maps.Tokens * valueWidth));
            for (int head = 0; head < input.Queries.Heads; head++)
            {
                cancellation.ThrowIfCancellationRequested();
                Enlarge(input.Queries[0, head], scales.Last, q, maps.Last);
                for (int scale = 0; scale < scales.Count; scale++)
                {
                    (int from, int to) = (scales.Start(scale), maps.Start(scale));
                    Enlarge(input.Keys[0, head].SliceRows(from, scales[scale].Tokens), scales[scale], k.SliceRows(to, maps[scale].Tokens), maps[scale]);
                    Enlarge(input.Values[0, head].SliceRows(from, scales[scale].Tokens), scales[scale], v.SliceRows(to, maps[scale].Tokens), maps[scale]);
                }

                HeadTensor wholeQueries = HeadTensor.Interleaved(q, 1, 1), wholeKeys = HeadTensor.Interleaved(k, 1, 1);
                if (lengths is not null && side != own)
                {
                    kernels.NormalizeHeads(wholeQueries, [lengths[head]], wholeQueries);
                    kernels.NormalizeHeads(wholeKeys, [], wholeKeys);
                }

                var one = new AttentionInput(wholeQueries, wholeKeys, HeadTensor.Interleaved(v, 1, 1), input.Scale, maps);
                HeadTensor result = HeadTensor.Interleaved(output, 1, 1);
                foreach (IAttention strategy in (ReadOnlySpan<IAttention>)[_certified, _audited])
                {
                    Certificate certificate = strategy.Attend(one, result);
                    _runs.Add(new OperatorRun(
                        strategy.Name, side, side != own, layer, head, 1 - ((double)certificate.ExactRows / certificate.Rows), certificate.Work, certificate.Reason));
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _certified.Dispose();
        _audited.Dispose();
    }

    private ScaleSchedule Enlarged(double factor) => factor == 1 ? scales : new ScaleSchedule([.. scales.Sizes.Select(size => new TokenMapSize(
        Math.Max(1, (int)Math.Round(size.Height * factor)), Math.Max(1, (int)Math.Round(size.Width * factor))))]);

    private static void Enlarge(Matrix from, TokenMapSize size, Matrix to, TokenMapSize larger)
    {
        using var copy = new FloatBuffer((long)from.Rows * from.Columns);
        FeatureMap map = copy.FeatureMap(1, size.Height, size.Width, from.Columns);
        for (int row = 0; row < from.Rows; row++)
        {
            from.Row(row).CopyTo(copy.Span((long)row * from.Columns, from.Columns));
        }

        Interpolation.Bicubic(map, to.Buffer.FeatureMap(1, larger.Height, larger.Width, from.Columns, to.Offset));
    }
}
