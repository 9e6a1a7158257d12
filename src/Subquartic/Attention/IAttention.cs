using Subquartic.Generation;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>What one attention layer asks for: o = softmax(Scale * Q K^T) V in every head of every image.</summary>
/// <param name="Queries">Q (B, H, L, c).</param>
/// <param name="Keys">K (B, H, S, c): exactly the keys that all these queries see.</param>
/// <param name="Values">V (B, H, S, c_v).</param>
/// <param name="Scale">Factor on the scores, 1/tau in the paper's notation.</param>
/// <param name="Maps">The token maps the keys lie on, in raster order, the first S tokens of the schedule; null when they have no
/// such order. Only speed depends on it: neighbours are alike.</param>
public readonly record struct AttentionInput(HeadTensor Queries, HeadTensor Keys, HeadTensor Values, float Scale, ScaleSchedule? Maps = null);

/// <summary>A way to compute attention. The transformer and the decoder hold one and never ask which.</summary>
public interface IAttention
{
    /// <summary>Short name, as the command line spells it.</summary>
    string Name { get; }

    /// <summary>Computes attention.</summary>
    /// <param name="input">Queries, keys, values and scale.</param>
    /// <param name="output">(B, H, L, c_v), overwritten; must not overlap the input.</param>
    /// <returns>How it was computed, and how well.</returns>
    /// <exception cref="ArgumentException">The shapes do not fit together.</exception>
    Certificate Attend(in AttentionInput input, HeadTensor output);

    /// <summary>Attention of one layer whose keys grow from call to call, as they do in next-scale generation; strategies that keep nothing between
    /// calls need not override it.</summary>
    /// <returns>A companion with a state of its own; it ends before this strategy does.</returns>
    IAttentionSequence CreateSequence() => new IndependentCalls(this);
}
