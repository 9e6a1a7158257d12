using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Layers;

/// <summary>One block: x += gamma1 attn(LN(x) (1 + scale1) + shift1), then x += gamma2 ffn(LN(x) (1 + scale2) + shift2)
/// (VAR models/basic_var.py, AdaLNSelfAttn).</summary>
internal sealed class TransformerBlock : IDisposable
{
    private readonly KernelSet _kernels;
    private readonly VarConfig _config;

    /// <summary>Reads the block.</summary>
    /// <param name="view">The block's tensors.</param>
    /// <param name="config">Sizes and switches.</param>
    /// <param name="kernels">The kernels that will run it.</param>
    /// <param name="rotary">Rotation of queries and keys, or null.</param>
    /// <exception cref="CheckpointException">A tensor is missing or has another shape.</exception>
    public TransformerBlock(CheckpointView view, VarConfig config, KernelSet kernels, RotaryEmbedding? rotary = null)
    {
        _kernels = kernels;
        _config = config;
        AdaLn = new AdaLn(view, config.Width, config.SharedAdaLn, kernels);
        Attention = new SelfAttention(view.In("attn"), config, kernels, rotary);
        FeedForward = new FeedForward(view.In("ffn"), config.Width, config.HiddenWidth, kernels);
    }

    /// <summary>Makes the modulation of this block.</summary>
    public AdaLn AdaLn { get; }

    /// <summary>The first branch.</summary>
    public SelfAttention Attention { get; }

    /// <summary>The second branch.</summary>
    public FeedForward FeedForward { get; }

    /// <summary>Applies the block in place.</summary>
    /// <param name="x">Tokens (B * L, C).</param>
    /// <param name="range">The scales of the pass.</param>
    /// <param name="modulation">This block's modulation of the B images.</param>
    /// <param name="cache">Keys and values of this block.</param>
    /// <param name="attention">How attention is computed.</param>
    /// <param name="workspace">Memory for the pass.</param>
    public void Forward(
        Matrix x, in ScaleRange range, in Modulation modulation, KvCache.Layer cache, IAttention attention, VarWorkspace workspace)
    {
        Matrix normed = workspace.Normed(range.Rows);
        _kernels.LayerNormModulate(
            x, modulation.AttentionScale, modulation.AttentionShift, range.Tokens, _config.NormEpsilon, normed);
        Attention.Forward(
            normed, range, workspace.Wide(range.Rows, 3 * _config.Width), cache, attention, x, Residual(x, modulation.AttentionGate, range.Tokens));

        _kernels.LayerNormModulate(
            x, modulation.FeedForwardScale, modulation.FeedForwardShift, range.Tokens, _config.NormEpsilon, normed);
        FeedForward.Forward(
            normed, workspace.Wide(range.Rows, _config.HiddenWidth), x, Residual(x, modulation.FeedForwardGate, range.Tokens));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        AdaLn.Dispose();
        Attention.Dispose();
        FeedForward.Dispose();
    }

    private static GemmOptions Residual(Matrix x, Matrix gate, int rowsPerGate) =>
        new() { Gate = gate, RowsPerGate = rowsPerGate, Residual = x };
}
