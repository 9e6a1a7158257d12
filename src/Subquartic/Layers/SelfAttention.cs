using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Layers;

/// <summary>The scales one pass of the transformer computes: one in a generation step, all of them under teacher forcing.</summary>
/// <param name="Images">B, the unconditional twins included.</param>
/// <param name="Scales">The schedule.</param>
/// <param name="First">First scale of the pass.</param>
/// <param name="End">One past its last scale.</param>
internal readonly record struct ScaleRange(int Images, ScaleSchedule Scales, int First, int End)
{
    /// <summary>Place of the first token in the sequence of all scales.</summary>
    public int Start => Scales.Start(First);

    /// <summary>L: tokens of one image in this pass.</summary>
    public int Tokens => Scales.Start(End) - Scales.Start(First);

    /// <summary>B * L.</summary>
    public int Rows => Images * Tokens;
}

/// <summary>Multi-head self-attention with a key-value cache. A token sees the tokens of its own and of all earlier scales, which is
/// one attention call per scale with a prefix of the cached keys (VAR models/basic_var.py, SelfAttention.forward).</summary>
internal sealed class SelfAttention : IDisposable
{
    // VAR models/basic_var.py: the learned logarithm is clamped to log(100).
    private static readonly float MaxLogFactor = MathF.Log(100);

    private readonly KernelSet _kernels;
    private readonly Linear _queryKeyValue;
    private readonly Linear _projection;
    private readonly float[]? _queryFactors;
    private readonly float _scale;
    private readonly int _width;
    private readonly int _heads;
    private readonly RotaryEmbedding? _rotary;

    /// <summary>Reads the layer.</summary>
    /// <param name="view">The layer's tensors.</param>
    /// <param name="config">Sizes and switches.</param>
    /// <param name="kernels">The kernels that will run it.</param>
    /// <param name="rotary">Rotation of queries and keys, or null.</param>
    /// <exception cref="CheckpointException">A tensor is missing or has another shape.</exception>
    public SelfAttention(CheckpointView view, VarConfig config, KernelSet kernels, RotaryEmbedding? rotary = null)
    {
        _rotary = rotary;
        _kernels = kernels;
        _width = config.Width;
        _heads = config.Heads;
        _queryKeyValue = new Linear(view, "mat_qkv.weight", _width, QueryKeyValueBias(view, _width), kernels);
        _projection = new Linear(view.In("proj"), _width, _width, kernels);
        _scale = config.AttentionL2Norm ? 1 : 0.25f / MathF.Sqrt(config.HeadWidth);
        if (config.AttentionL2Norm)
        {
            using FloatBuffer logarithms = view.Get("scale_mul_1H11", 1, _heads, 1, 1);
            _queryFactors = logarithms.Span().ToArray();
            foreach (ref float factor in _queryFactors.AsSpan())
            {
                factor = MathF.Exp(MathF.Min(factor, MaxLogFactor));
            }
        }
    }

    /// <summary>What no score of a head can exceed in absolute value but for rounding, readable from the weights: the learned factor, since
    /// normalised keys have length 1. Null where queries and keys are not normalised.</summary>
    public IReadOnlyList<float>? ScoreBounds => _queryFactors;

    /// <summary>Applies the layer to the tokens of one pass and appends their keys and values to the cache.</summary>
    /// <param name="x">Normalised tokens (B * L, C); overwritten, as room for the heads' outputs.</param>
    /// <param name="range">The scales of the pass.</param>
    /// <param name="queryKeyValue">Working memory (B * L, 3C).</param>
    /// <param name="cache">Keys and values of this layer.</param>
    /// <param name="attention">How attention is computed.</param>
    /// <param name="y">(B * L, C).</param>
    /// <param name="options">What follows the projection's bias.</param>
    public void Forward(
        Matrix x, in ScaleRange range, Matrix queryKeyValue, KvCache.Layer cache, IAttention attention, Matrix y, in GemmOptions options = default)
    {
        _queryKeyValue.Forward(x, queryKeyValue);
        HeadTensor queries = Heads(queryKeyValue, 0, range.Images);
        HeadTensor keys = Heads(queryKeyValue, 1, range.Images);
        if (_queryFactors is not null)
        {
            _kernels.NormalizeHeads(queries, _queryFactors, queries);
            _kernels.NormalizeHeads(keys, [], cache.Keys.SliceRows(range.Start, range.Tokens));
        }
        else
        {
            KvCache.Copy(keys, cache.Keys.SliceRows(range.Start, range.Tokens), _kernels.Pool);
        }

        if (_rotary is not null)
        {
            // Keys are cached as they are used: rotated, once.
            HeadTensor cached = cache.Keys.SliceRows(range.Start, range.Tokens);
            _rotary.Rotate(queries, range.Start, queries, _kernels.Pool);
            _rotary.Rotate(cached, range.Start, cached, _kernels.Pool);
        }

        KvCache.Copy(Heads(queryKeyValue, 2, range.Images), cache.Values.SliceRows(range.Start, range.Tokens), _kernels.Pool);

        HeadTensor output = HeadTensor.Interleaved(x, range.Images, _heads);
        for (int scale = range.First; scale < range.End; scale++)
        {
            int start = range.Scales.Start(scale) - range.Start;
            int visible = range.Scales.Start(scale + 1);
            int tokens = range.Scales[scale].Tokens;
            attention.Attend(
                new AttentionInput(
                    queries.SliceRows(start, tokens), cache.Keys.SliceRows(0, visible), cache.Values.SliceRows(0, visible), _scale, range.Scales),
                output.SliceRows(start, tokens));
        }

        _projection.Forward(x, y, options);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _queryKeyValue.Dispose();
        _projection.Dispose();
    }

    private HeadTensor Heads(Matrix queryKeyValue, int third, int images) =>
        HeadTensor.Interleaved(queryKeyValue.SliceColumns(third * _width, _width), images, _heads);

    // Keys have no bias: it would shift all scores of a query alike.
    private static FloatBuffer QueryKeyValueBias(CheckpointView view, int width)
    {
        using FloatBuffer query = view.Get("q_bias", width);
        using FloatBuffer value = view.Get("v_bias", width);
        var bias = new FloatBuffer(3L * width);
        query.Span().CopyTo(bias.Span(0, width));
        value.Span().CopyTo(bias.Span(2L * width, width));
        return bias;
    }
}
