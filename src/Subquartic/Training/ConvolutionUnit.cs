using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>A 3x3 convolution, group normalisation and SiLU: what classifier and critic are made of.</summary>
/// <param name="parameters">Where its parameters are kept.</param>
/// <param name="name">What their names begin with.</param>
/// <param name="inputs">Channels of its input.</param>
/// <param name="outputs">Channels of its output, a multiple of 8.</param>
internal sealed class ConvolutionUnit(ParameterSet parameters, string name, int inputs, int outputs)
{
    // Fewer groups than channels, so that a level keeps how bright and how colourful its picture is.
    private const int Groups = 8;

    private readonly Parameter _weight = parameters.Uniform($"{name}.conv.weight", 1 / Math.Sqrt(inputs * 9), decays: true, outputs, inputs, 3, 3);
    private readonly Parameter _bias = parameters.Constant($"{name}.conv.bias", 0, decays: false, outputs);
    private readonly Parameter _scale = parameters.Constant($"{name}.norm.weight", 1, decays: false, outputs);
    private readonly Parameter _shift = parameters.Constant($"{name}.norm.bias", 0, decays: false, outputs);

    /// <summary>(B, H, W, inputs) to (B, H / stride, W / stride, outputs).</summary>
    public Variable Forward(Tape tape, Variable x, int stride) =>
        tape.GroupNorm(tape.Convolve(x, _weight, _bias, stride), _scale, _shift, silu: true, Groups);
}
