using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Layers;

/// <summary>x + proj(attention(qkv(GN(x)))) over the pixels of an image, one head as wide as the map has channels, scores divided
/// by sqrt(C) (VAR models/basic_vae.py, AttnBlock).</summary>
internal sealed class AttentionBlock : IDisposable
{
    private readonly KernelSet _kernels;
    private readonly GroupNorm _norm;
    private readonly PackedConvolution _qkv;
    private readonly PackedConvolution _projection;

    /// <summary>Reads the block.</summary>
    /// <param name="view">The block's tensors.</param>
    /// <param name="channels">C.</param>
    /// <param name="side">Side of the maps it will mostly see, 0 if unknown.</param>
    /// <param name="kernels">The kernels that will run it.</param>
    /// <exception cref="CheckpointException">A tensor is missing or has another shape.</exception>
    public AttentionBlock(CheckpointView view, int channels, int side, KernelSet kernels)
    {
        _kernels = kernels;
        _norm = GroupNorm.Load(view, "norm", channels, kernels);
        _qkv = Conv2d.Load(view, "qkv", new ConvolutionShape(channels, 3 * channels, 1, 1, side), kernels);
        _projection = Conv2d.Load(view, "proj_out", new ConvolutionShape(channels, channels, 1, 1, side), kernels);
    }

    /// <summary>Applies the block in place.</summary>
    /// <param name="x">One image (1, H, W, C) in the workspace.</param>
    /// <param name="attention">How attention is computed.</param>
    /// <param name="workspace">Memory for the maps.</param>
    public void Forward(FeatureMap x, IAttention attention, MapWorkspace workspace)
    {
        int channels = x.Channels;
        FeatureMap qkv = workspace.Take(x.Height, x.Width, 3 * channels, x);
        _kernels.Convolve(x, _qkv, qkv, _norm.Prologue(x, silu: false, workspace));
        FeatureMap output = workspace.Take(x.Height, x.Width, channels, x, qkv);
        attention.Attend(
            new AttentionInput(Head(qkv, 0), Head(qkv, channels), Head(qkv, 2 * channels), 1 / MathF.Sqrt(channels),
                new ScaleSchedule(new TokenMapSize(x.Height, x.Width))),
            HeadTensor.Interleaved(output.Pixels(), batch: 1, heads: 1));
        _kernels.Convolve(output, _projection, x, new ConvolutionOptions { Residual = x });

        HeadTensor Head(FeatureMap map, int firstChannel) =>
            HeadTensor.Interleaved(map.Pixels().SliceColumns(firstChannel, channels), batch: 1, heads: 1);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _norm.Dispose();
        _qkv.Dispose();
        _projection.Dispose();
    }
}
