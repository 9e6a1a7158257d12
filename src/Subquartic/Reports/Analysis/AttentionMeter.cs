using Subquartic.Attention;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Reports.Analysis;

/// <summary>Watches the attention calls of a generator that draws one image at a time, and knows by their order which layer and scale each
/// belongs to: the blocks of the transformer pass by pass and scale by scale, then the decoder's.</summary>
internal sealed class AttentionMeter
{
    private readonly KernelSet _kernels;
    private readonly VarConfig _config;
    private readonly IReadOnlyList<IReadOnlyList<float>?> _scoreBounds;
    private readonly EnlargedMeter _enlarged;
    private readonly double[] _balances;
    private readonly Histogram[] _entries;
    private readonly Histogram[] _scores;
    private readonly int[] _scaleOfPass;
    private int _call;

    /// <summary>Prepares the meters.</summary>
    /// <param name="config">Sizes of the transformer.</param>
    /// <param name="decoderBlocks">Attention blocks of the decoder.</param>
    /// <param name="scoreBounds">Per layer, the learned factors of its heads, or null; the decoder is not in it.</param>
    /// <param name="enlarged">Looks at the last scale of the first image too.</param>
    /// <param name="passes">In how many passes a map is drawn.</param>
    /// <param name="kernels">What measures.</param>
    public AttentionMeter(
        VarConfig config, int decoderBlocks, IReadOnlyList<IReadOnlyList<float>?> scoreBounds, EnlargedMeter enlarged, ScaleValues passes, KernelSet kernels)
    {
        (_scoreBounds, _enlarged) = (scoreBounds, enlarged);
        _kernels = kernels;
        _config = config;
        _scaleOfPass = [.. config.Scales.PassesOf(passes).SelectMany((order, k) => Enumerable.Repeat(k, order.Max() + 1))];
        int heads = config.Depth * config.Heads;
        Heads = [.. Enumerable.Range(0, config.Scales.Count * heads).Select(_ => new HeadMeter())];
        Decoder = [.. Enumerable.Range(0, decoderBlocks).Select(_ => new HeadMeter())];

        // Normalised keys have length 1 and queries the learned factor s: dividing it up evenly makes entries of both comparable,
        // and needs no look at the data.
        _balances = [.. Enumerable.Range(0, heads + decoderBlocks).Select(i =>
            i < heads && scoreBounds[i / config.Heads] is { } bounds ? 1 / Math.Sqrt(bounds[i % config.Heads]) : 1)];
        _entries = [.. _balances.Select(_ => new Histogram())];
        _scores = [.. _balances.Select(_ => new Histogram())];
    }

    /// <summary>Meters of the transformer, by scale, layer and head.</summary>
    public HeadMeter[] Heads { get; }

    /// <summary>Meters of the decoder's blocks.</summary>
    public HeadMeter[] Decoder { get; }

    /// <summary>Called after each attention call with it.</summary>
    public void Observe(in AttentionInput input, in Certificate certificate)
    {
        int transformer = _scaleOfPass.Length * _config.Depth;
        int position = _call++ % (transformer + Decoder.Length);
        bool decodes = position >= transformer;
        int layer = decodes ? position - transformer : position % _config.Depth;
        int scale = decodes ? _config.Scales.Count - 1 : _scaleOfPass[position / _config.Depth];
        int heads = decodes ? 1 : _config.Heads;
        int tokens = _config.Scales[scale].Tokens;
        if (input.Queries.Heads != heads || input.Queries.Rows != tokens)
        {
            throw new InvalidOperationException(
                $"Attention call {_call} has {input.Queries.Heads} heads of {input.Queries.Rows} queries, expected {heads} of {tokens}.");
        }

        var body = new MeasureBody(
            this, input, decodes ? Decoder : Heads, decodes ? layer : ((scale * _config.Depth) + layer) * heads,
            decodes ? (_config.Depth * _config.Heads) + layer : layer * heads);
        _kernels.Pool.Run(heads, ref body);
        if (_call <= transformer && position >= transformer - _config.Depth)
        {
            _enlarged.Measure(layer, input, _scoreBounds[layer]);
        }
    }

    /// <summary>Entries of Q and K of a layer, over all heads and scales, in the paper's form (scores divided by d).</summary>
    /// <param name="layer">Layer of the transformer, or after them a block of the decoder.</param>
    public Histogram Entries(int layer) => Join(_entries, layer);

    /// <summary>Scores of a layer after both centrings, over all heads and scales.</summary>
    /// <param name="layer">Layer of the transformer, or after them a block of the decoder.</param>
    public Histogram Scores(int layer) => Join(_scores, layer);

    private Histogram Join(Histogram[] all, int layer)
    {
        var joined = new Histogram();
        bool decodes = layer >= _config.Depth;
        int first = decodes ? (_config.Depth * _config.Heads) + layer - _config.Depth : layer * _config.Heads;
        foreach (Histogram one in all.AsSpan(first, decodes ? 1 : _config.Heads))
        {
            joined.Add(one);
        }

        return joined;
    }

    private readonly struct MeasureBody(AttentionMeter owner, AttentionInput input, HeadMeter[] meters, int firstMeter, int firstHistogram)
        : IParallelBody
    {
        public void Invoke(int task)
        {
            int histogram = firstHistogram + task;

            // The paper's scores are q.k/d: each side takes half of the factor between that and the model's.
            double paper = Math.Sqrt(input.Queries.Width * (double)input.Scale);
            for (int image = 0; image < input.Queries.Batch; image++)
            {
                meters[firstMeter + task].Measure(
                    input.Queries[image, task], input.Keys[image, task], input.Values[image, task], input.Scale,
                    paper, owner._balances[histogram], owner._kernels, owner._entries[histogram], owner._scores[histogram]);
            }
        }
    }
}
