using Subquartic.Generation;

namespace Subquartic.Models;

/// <summary>Sizes and switches of a VAR transformer (VAR models/var.py, VAR.__init__).</summary>
public sealed partial record VarConfig
{
    /// <summary>Number of transformer blocks.</summary>
    public required int Depth { get; init; }

    /// <summary>Width C of a token; 64 * depth in the released models.</summary>
    public required int Width { get; init; }

    /// <summary>Attention heads; divides <see cref="Width"/>.</summary>
    public required int Heads { get; init; }

    /// <summary>Width of the hidden layer of the feed-forward network; 4 * width in the released models.</summary>
    public required int HiddenWidth { get; init; }

    /// <summary>Number of classes; class embedding <see cref="Classes"/> is the unconditional one.</summary>
    public required int Classes { get; init; }

    /// <summary>Size V of the codebook.</summary>
    public required int Vocabulary { get; init; }

    /// <summary>Channels of the codebook's vectors.</summary>
    public required int CodeChannels { get; init; }

    /// <summary>Whether queries and keys are normalised to length 1 and queries scaled by a learned factor per head
    /// (attn_l2_norm). Otherwise scores are scaled by 0.25 / sqrt(head width).</summary>
    public required bool AttentionL2Norm { get; init; }

    /// <summary>Whether all blocks share one AdaLN projection (shared_aln).</summary>
    public required bool SharedAdaLn { get; init; }

    /// <summary>The token maps.</summary>
    public required ScaleSchedule Scales { get; init; }

    /// <summary>Epsilon of layer normalisation.</summary>
    public float NormEpsilon { get; init; } = 1e-6f;

    /// <summary>Base of the rotary position embedding of queries and keys, or null for none, as in the released models
    /// (<see cref="Layers.RotaryEmbedding"/>). The head width must then be a multiple of 4.</summary>
    public float? RopeBase { get; init; }

    /// <summary>Head width c.</summary>
    public int HeadWidth => Width / Heads;

    /// <summary>Floating-point operations of one scale, a multiply-add counted as two: products of the blocks and of the head,
    /// and attention over all tokens so far.</summary>
    /// <param name="scale">Index of the scale.</param>
    /// <param name="rows">Images of the batch, twice as many when guided.</param>
    /// <returns>The number for the direct algorithms, whichever are used: in all 298 GFLOP for an image of the released model of depth 16.</returns>
    public long Flops(int scale, int rows)
    {
        long tokens = (long)rows * Scales[scale].Tokens;
        long width = Width;
        long block = width * (4 * width + 2L * HiddenWidth) + 2 * width * Scales.Start(scale + 1);
        return 2 * tokens * (Depth * block + width * (Vocabulary + CodeChannels));
    }
}
