using Subquartic.Checkpoints;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training;
using Subquartic.Training.Operations;

namespace Subquartic.Generation;

/// <summary>Chooses between several beginnings of a picture, so that what is drawn is distributed more as the real pictures are.</summary>
/// <remarks>
/// <para>A beginning is the first maps of a picture, which decide what it shows and hold few of its tokens. Of K beginnings x_1 … x_K from the transformer's
/// distribution p, one is taken with probability w(x_i)^b / sum_j w(x_j)^b, where w estimates q / p and q is the distribution of real pictures. With b = 1 it is
/// sampling-importance-resampling (Rubin 1987), which draws from q itself as K grows, if w is right. With few candidates it falls short: of any f, the mean over the chosen is to first order in log w
/// E f + b (1 - 1 / K) Cov(f, log w), since 1 / K of a candidate's weight competes with itself, while that over q is E f + Cov(f, log w). So b is K / (K - 1).
/// The estimate is a classifier's, which was trained to tell one from the other
/// (<see cref="CriticTrainer"/>; discriminator rejection sampling, Azadi et al. 2019, does the like with GANs). The best figures of VAR's paper come from rejection
/// sampling too ("VAR-d30-re", Tian et al. 2024, table 1), there by a classifier of ImageNet.</para>
/// <para>Not thread-safe.</para>
/// </remarks>
public sealed class Critic : IDisposable
{
    // No map has this number, so that the choice has random numbers of its own.
    private const int ChoiceScale = int.MaxValue;

    private readonly CriticNetwork _network;
    private readonly Tape _tape;
    private readonly ScaleSchedule _schedule;

    /// <summary>Takes over a trained network.</summary>
    /// <param name="network">The network; owned by the critic from now on.</param>
    /// <param name="schedule">The model's token maps.</param>
    /// <param name="scales">How many of the first maps the network looks at, 1 to all but the last.</param>
    /// <param name="kernels">The kernels that compute.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are not as many maps.</exception>
    public Critic(CriticNetwork network, ScaleSchedule schedule, int scales, KernelSet kernels)
    {
        ArgumentNullException.ThrowIfNull(network);
        ArgumentNullException.ThrowIfNull(schedule);
        ArgumentOutOfRangeException.ThrowIfLessThan(scales, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(scales, schedule.Count);
        _network = network;
        _schedule = schedule;
        _tape = new Tape(kernels, recording: false);
        Scales = scales;
    }

    /// <summary>Name of the critic's file in the folder of its model.</summary>
    public const string FileName = "critic.safetensors";

    /// <summary>How many of the first maps it looks at.</summary>
    public int Scales { get; }

    /// <summary>Number of classes.</summary>
    public int Classes => _network.Classes;

    /// <summary>The running feature map as the network sees it: brought to the size of the last of the maps.</summary>
    /// <param name="featureMap">(B, h_K, w_K, Cvae) after the first maps.</param>
    /// <param name="seen">(B, h_s, w_s, Cvae) of the last of these, overwritten.</param>
    internal static void Reduce(FeatureMap featureMap, FeatureMap seen)
    {
        if ((featureMap.Height, featureMap.Width) == (seen.Height, seen.Width))
        {
            featureMap.Span().CopyTo(seen.Span());
        }
        else
        {
            Interpolation.Area(featureMap, seen);
        }
    }

    /// <summary>Estimates log q(x) / p(x).</summary>
    /// <param name="featureMap">(B, h_K, w_K, Cvae): the running feature map after the first <see cref="Scales"/> maps.</param>
    /// <param name="labels">The classes of the B pictures; <see cref="Classes"/> for none.</param>
    /// <param name="scores">B numbers, overwritten.</param>
    /// <exception cref="ArgumentException">Sizes or labels do not fit.</exception>
    public void Score(FeatureMap featureMap, ReadOnlySpan<int> labels, Span<double> scores)
    {
        if (labels.Length != featureMap.Batch || scores.Length != featureMap.Batch)
        {
            throw new ArgumentException($"{featureMap.Batch} pictures, {labels.Length} labels, room for {scores.Length} scores.", nameof(labels));
        }

        TokenMapSize size = _schedule[Scales - 1];
        _tape.Reset();
        Variable maps = _tape.NewMap(featureMap.Batch, size.Height, size.Width, featureMap.Channels, needsGradient: false);
        Reduce(featureMap, maps.Map);
        Matrix logits = _network.Forward(_tape, maps).Value;
        for (int i = 0; i < scores.Length; i++)
        {
            scores[i] = LogRatio(logits.Row(i), labels[i]);
        }
    }

    /// <summary>Logit of real less logit of drawn ones, of one class, or of all together where there is none.</summary>
    /// <param name="logits">2 C.</param>
    /// <param name="label">The class, C for none.</param>
    internal static double LogRatio(ReadOnlySpan<float> logits, int label)
    {
        int classes = logits.Length / 2;
        return (uint)label <= (uint)classes
            ? label < classes ? logits[label] - (double)logits[classes + label] : LogSum(logits[..classes]) - LogSum(logits[classes..])
            : throw new ArgumentException($"There is no class {label}; the critic knows {classes}.", nameof(label));

        static double LogSum(ReadOnlySpan<float> values)
        {
            double largest = double.NegativeInfinity, sum = 0;
            foreach (float value in values)
            {
                largest = Math.Max(largest, value);
            }

            foreach (float value in values)
            {
                sum += Math.Exp(value - largest);
            }

            return largest + Math.Log(sum);
        }
    }

    /// <summary>The sharpened score of a candidate with its noise: of all candidates of an image, the one with the largest is taken, which is each with probability
    /// proportional to exp(K / (K - 1) score) (Gumbel's trick).</summary>
    internal static double Noisy(double score, int candidates, ulong seed, int image, int candidate) =>
        score * candidates / (candidates - 1) - Math.Log(-Math.Log(new RandomStream(seed, image, ChoiceScale, candidate).Uniform(0)));

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        _tape.Dispose();
        _network.Dispose();
    }
}
