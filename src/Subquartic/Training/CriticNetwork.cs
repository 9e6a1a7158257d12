using Subquartic.Checkpoints;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>Tells the first token maps of real pictures from drawn ones, class by class: four convolutions over the quantised features, their mean, a linear layer.</summary>
/// <remarks>The logits are those of 2 C classes, first C real, then C drawn ones: for a picture of class c, logit c less logit C + c estimates
/// log q(maps | c) - log p(maps | c), with q the distribution of real pictures and p that of drawn ones (Goodfellow et al. 2014, proposition 1).</remarks>
public sealed class CriticNetwork : IDisposable
{
    private const int Narrow = 64, Wide = 128;

    private readonly ConvolutionUnit[] _units;
    private readonly Parameter _weight;
    private readonly Parameter _bias;

    /// <summary>Creates the network.</summary>
    /// <param name="classes">C, number of classes.</param>
    /// <param name="codeChannels">Cvae, channels of the quantised features.</param>
    /// <param name="seed">Seed of the random start.</param>
    /// <param name="from">A checkpoint to take the weights from, or null.</param>
    /// <exception cref="CheckpointException">The checkpoint does not fit.</exception>
    public CriticNetwork(int classes, int codeChannels, ulong seed, CheckpointView? from = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(classes, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(codeChannels, 1);
        Classes = classes;
        CodeChannels = codeChannels;
        Parameters = new ParameterSet(seed, from);
        _units =
        [
            new(Parameters, "units.0", codeChannels, Narrow), new(Parameters, "units.1", Narrow, Narrow),
            new(Parameters, "units.2", Narrow, Wide), new(Parameters, "units.3", Wide, Wide),
        ];
        _weight = Parameters.Uniform("head.weight", 1 / Math.Sqrt(Wide), decays: true, 2 * classes, Wide);
        _bias = Parameters.Constant("head.bias", 0, decays: false, 2 * classes);
    }

    /// <summary>C, number of classes.</summary>
    public int Classes { get; }

    /// <summary>Cvae, channels of the quantised features.</summary>
    public int CodeChannels { get; }

    /// <summary>All parameters.</summary>
    public ParameterSet Parameters { get; }

    /// <summary>Looks at the beginnings of pictures.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="maps">(B, h, w, Cvae): the running feature map after the critic's last map, brought to the size of that map.</param>
    /// <returns>(B, 2 C).</returns>
    public Variable Forward(Tape tape, Variable maps)
    {
        ArgumentNullException.ThrowIfNull(tape);
        ArgumentNullException.ThrowIfNull(maps);
        Variable x = _units[1].Forward(tape, _units[0].Forward(tape, maps, 1), 1);

        // Odd and tiny maps keep their size.
        int stride = maps.Height % 2 == 0 && maps.Width % 2 == 0 && Math.Min(maps.Height, maps.Width) >= 4 ? 2 : 1;
        x = _units[3].Forward(tape, _units[2].Forward(tape, x, stride), 1);
        return tape.Linear(tape.MeanPool(x), _weight, _bias);
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose() => Parameters.Dispose();
}
