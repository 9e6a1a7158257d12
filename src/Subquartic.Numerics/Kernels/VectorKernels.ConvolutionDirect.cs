using System.Runtime.CompilerServices;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    // Output pixels of a block: enough to use a panel of weights often, few enough that its input stays in the second-level cache.
    private const int DirectBlockHeight = 16;
    private const int DirectBlockWidth = 24;

    // Depth of one pass over a tile: a panel that deep stays in the first-level cache while the tiles of the block go by.
    private const int DirectDepth = 320;

    /// <summary>Weights as [panel][dy][dx][input][two vectors of outputs].</summary>
    private static void PackDirectPanel(PackedConvolution packed, float* weight, int panel, int firstInput, int endInput)
    {
        ConvolutionShape shape = packed.Shape;
        int taps = shape.Kernel * shape.Kernel;
        int lanes = Math.Min(GemmPanelWidth, shape.Outputs - panel * GemmPanelWidth);
        float* target = packed.Weights.Pointer + (long)panel * taps * shape.Inputs * GemmPanelWidth;
        for (int input = firstInput; input < endInput; input++)
        {
            for (int lane = 0; lane < lanes; lane++)
            {
                float* kernel = weight + ((long)(panel * GemmPanelWidth + lane) * shape.Inputs + input) * taps;
                for (int tap = 0; tap < taps; tap++)
                {
                    target[((long)tap * shape.Inputs + input) * GemmPanelWidth + lane] = kernel[tap];
                }
            }
        }
    }

    private void ConvolveDirect(FeatureMap x, PackedConvolution convolution, FeatureMap y, in ConvolutionOptions options)
    {
        int panels = DivideUp(convolution.Shape.Outputs, GemmPanelWidth);
        int width = Math.Min(y.Width, DirectBlockWidth);
        int height = Math.Min(y.Height, Math.Max(1, DirectBlockHeight * DirectBlockWidth / width));
        var blocks = new Blocks(y.Batch, y.Height, y.Width, height, width, panels, Pool.Threads);
        if (convolution.Shape.Outputs <= FewOutputs)
        {
            var few = new FewOutputsBody { X = x, Y = y, Convolution = convolution, Options = options, Blocks = blocks };
            Pool.Run(blocks.Tasks, ref few);
        }
        else
        {
            var body = new DirectBody { X = x, Y = y, Convolution = convolution, Options = options, Blocks = blocks };
            Pool.Run(blocks.Tasks, ref body);
        }
    }

    /// <summary>The input of a block of outputs, pixels without gaps between them.</summary>
    private static Scratch CopyDirectPatch(
        FeatureMap x, in ConvolutionOptions options, in ConvolutionShape shape, int image, int top, int left, int rows, int columns)
    {
        int patchRows = (rows - 1) * shape.Stride + shape.Kernel;
        int patchColumns = (columns - 1) * shape.Stride + shape.Kernel;
        int padding = shape.Kernel == 3 && shape.Stride == 1 ? 1 : 0;
        Scratch patch = Scratch.Rent((long)patchRows * patchColumns * shape.Inputs);
        CopyPatch(
            x, options, image, top * shape.Stride - padding, left * shape.Stride - padding, patchRows, patchColumns,
            patch.Pointer, shape.Inputs);
        return patch;
    }

    /// <summary>Convolution as matrix products over the pixels. In a padded row the pixels x, x + 1, x + 2 are one contiguous run of
    /// 3 C values, the row of the left operand for one dy; the next output pixel's run starts C values (times the stride) later.</summary>
    private struct DirectBody : IParallelBody
    {
        public FeatureMap X;
        public FeatureMap Y;
        public PackedConvolution Convolution;
        public ConvolutionOptions Options;
        public Blocks Blocks;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Invoke(int task)
        {
            ConvolutionShape shape = Convolution.Shape;
            int channels = shape.Inputs;
            (int image, int top, int left, int firstPanel, int endPanel) = Blocks[task];
            int rows = Math.Min(Blocks.Height, Y.Height - top);
            int columns = Math.Min(Blocks.Width, Y.Width - left);
            int patchColumns = (columns - 1) * shape.Stride + shape.Kernel;
            using Scratch patch = CopyDirectPatch(X, Options, shape, image, top, left, rows, columns);
            using Scratch sums = Scratch.Rent((long)rows * columns * GemmPanelWidth);
            int run = shape.Kernel * channels;
            for (int panel = firstPanel; panel < endPanel; panel++)
            {
                float* weights = Convolution.Weights.Pointer + (long)panel * shape.Kernel * run * GemmPanelWidth;
                bool resume = false;
                for (int dy = 0; dy < shape.Kernel; dy++)
                {
                    for (int k = 0; k < run; k += DirectDepth)
                    {
                        int depth = Math.Min(DirectDepth, run - k);
                        for (int row = 0; row < rows; row++)
                        {
                            MultiplyRows<PackedPanel>(
                                patch.Pointer + (long)(row * shape.Stride + dy) * patchColumns * channels + k,
                                shape.Stride * channels,
                                1,
                                weights + ((long)dy * run + k) * GemmPanelWidth,
                                GemmPanelWidth,
                                depth,
                                sums.Pointer + (long)row * columns * GemmPanelWidth,
                                GemmPanelWidth,
                                columns,
                                resume);
                        }

                        resume = true;
                    }
                }

                for (int row = 0; row < rows; row++)
                {
                    long pixel = ((long)image * Y.Height + top + row) * Y.Width + left;
                    StoreOutputs(
                        sums.Pointer + (long)row * columns * GemmPanelWidth, Convolution, Options, Y, pixel, columns, panel * GemmPanelWidth);
                }
            }
        }
    }
}
